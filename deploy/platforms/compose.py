"""Docker Compose on one machine: a service for each replica on GPUs of its own, and nginx before several.

As in the Compose Specification (services, configs with content, device reservations):
https://github.com/compose-spec/compose-spec/blob/main/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.launch import names as engine_names
from deploy.platforms import ALL, Placed, Running
from deploy.platforms._common import HF_TOKEN, OWN_IMAGES, check_placed, joined, refuse, split
from deploy.platforms.kubernetes import STARTUP_S
from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

FILE = "compose.yaml"
ENGINES = engine_names()
IMAGES = OWN_IMAGES
FRONT = "nginx:1.28"
OUTSIDE = 8000


def documents(deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
    """Returns the one document; raises InputError for a fleet that one machine does not hold."""
    check_placed(deployment, "compose")
    most = catalog.device(deployment.device).link.gpus_per_node
    if deployment.gpus > most:
        raise InputError("replicas", deployment.replicas, f"at most {most // deployment.gpus_per_replica} on one machine")
    no_hand_over = "where nothing hands KV from one engine to another"
    refuse(placed, "compose", plan="which has no clock", node_selector="which is one machine", prefill=no_hand_over)
    names = [f"engine-{place}" for place in range(deployment.replicas)]
    services = {name: _engine(deployment, placed, place) for place, name in enumerate(names)}
    if len(names) == 1:
        services[names[0]]["ports"] = [f"{OUTSIDE}:{placed.port}"]
        return [{"name": placed.name, "services": services}]
    services["front"] = {
        "image": FRONT,
        "ports": [f"{OUTSIDE}:80"],
        "configs": [{"source": "front", "target": "/etc/nginx/nginx.conf"}],
        "depends_on": {name: {"condition": "service_healthy"} for name in names},
        "restart": "unless-stopped",
    }
    config = {"front": {"content": _nginx(names, placed.port, deployment.router)}}
    return [{"name": placed.name, "services": services, "configs": config}]


def parse(found: Sequence[Mapping[str, Any]]) -> Running:
    """Returns the command of the first replica and how many there are; raises InputError where they are not alike."""
    engines = [each for name, each in found[0]["services"].items() if name.startswith("engine-")]
    commands = {_command(each) for each in engines}
    if len(commands) != 1:
        raise InputError("services", len(commands), "the same command for every replica")
    return {ALL: (commands.pop(), len(engines))}


def _command(service: Mapping[str, Any]) -> tuple[str, ...]:
    own = {name: value for name, value in service["environment"].items() if value is not None}
    return joined(own, [part.replace("$$", "$") for part in service["entrypoint"]])


def _engine(deployment: Resolved, placed: Placed, place: int) -> dict[str, Any]:
    environment, command = split(placed.command)
    gpus = deployment.gpus_per_replica
    ids = [str(place * gpus + each) for each in range(gpus)]
    check = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{placed.port}/health')"
    return {
        "image": placed.image,
        # A dollar would be a variable of Compose's.
        "entrypoint": [part.replace("$", "$$") for part in command],
        # Passed on from the shell, where it is set.
        "environment": {**environment, HF_TOKEN: None},
        **_weights(placed),
        "ipc": "host",
        "deploy": {"resources": {"reservations": {"devices": [{"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}]}}},
        "healthcheck": {"test": ["CMD", "python3", "-c", check], "interval": "10s", "start_period": f"{STARTUP_S}s"},
        "restart": "unless-stopped",
    }


def _weights(placed: Placed) -> dict[str, Any]:
    if placed.weights is None:
        return {}
    path = placed.weights.replace("$", "$$")
    return {"volumes": [{"type": "bind", "source": path, "target": path, "read_only": True}]}


def _nginx(names: Sequence[str], port: int, router: str) -> str:
    method = "    random;\n" if router == "random" else ""
    servers = "".join(f"    server {name}:{port};\n" for name in names)
    return (
        "events {}\nhttp {\n"
        f"  upstream replicas {{\n{method}{servers}    keepalive 64;\n  }}\n"
        "  server {\n    listen 80;\n    client_max_body_size 64m;\n    location / {\n      proxy_pass http://replicas;\n"
        '      proxy_http_version 1.1;\n      proxy_set_header Connection "";\n      proxy_buffering off;\n'
        "      proxy_read_timeout 1h;\n    }\n  }\n}\n"
    )
