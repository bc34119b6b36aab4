"""What platforms have in common: one machine for a replica, and who shares the requests."""

from __future__ import annotations

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

# Who shares requests here knows nothing of the replicas' load.
ROUTERS = ("round_robin", "random")


def check_placed(deployment: Resolved, platform: str) -> None:
    """Raises InputError for a replica that no single machine of its kind holds, and for a router that the platform is not."""
    most = catalog.device(deployment.device).link.gpus_per_node
    if deployment.gpus_per_replica > most:
        allowed = f"at most {most} on {platform}, which starts a replica on one machine of {deployment.device}"
        raise InputError("gpus_per_replica", deployment.gpus_per_replica, allowed)
    if deployment.replicas > 1 and deployment.router not in ROUTERS:
        raise InputError("router", deployment.router, f"{', '.join(ROUTERS)} with several replicas on {platform}")
