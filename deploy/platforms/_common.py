"""What platforms have in common: one machine for a replica, who shares the requests, and the parts of a command."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from deploy.platforms import Placed
from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

# Who shares requests here knows nothing of the replicas' load.
BLIND = ("round_robin", "random")
# Tags of an engine's own images are its versions (https://hub.docker.com/r/vllm/vllm-openai); others are the caller's to name.
OWN_IMAGES = {"vllm": "vllm/vllm-openai:v0.19.0"}

# Weights of gated models are fetched with this, from the Secret that Dynamo's guides make; without it a pod starts all the same.
HF_TOKEN = "HF_TOKEN"
TOKEN_SECRET = "hf-token-secret"

# The label by which NVIDIA's GPU feature discovery names a node's GPU, as nodes of these kinds have it in published manifests.
PRODUCT = "nvidia.com/gpu.product"
PRODUCTS = {
    "A100-40G-SXM": "NVIDIA-A100-SXM4-40GB",
    "A100-80G-PCIe": "NVIDIA-A100-80GB-PCIe",
    "A100-80G-SXM": "NVIDIA-A100-SXM4-80GB",
    "B200-SXM": "NVIDIA-B200",
    "B300-SXM": "NVIDIA-B300-SXM6-AC",
    "GB200": "NVIDIA-GB200",
    "GB300": "NVIDIA-GB300",
    "H100-SXM": "NVIDIA-H100-80GB-HBM3",
    "H200-SXM": "NVIDIA-H200",
    "L4": "NVIDIA-L4",
    "L40S": "NVIDIA-L40S",
}
# Nodes with GPUs are often tainted so, that nothing else runs there.
GPU = "nvidia.com/gpu"
TOLERATIONS = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
WEIGHTS = "weights"


def node_selector(deployment: Resolved, placed: Placed) -> dict[str, dict[str, str]]:
    """Returns `{"nodeSelector": labels}` of the nodes to run on: those given, else the GPU's; empty where it has no known label."""
    labels = dict(placed.node_selector)
    if not labels and deployment.device in PRODUCTS:
        labels = {PRODUCT: PRODUCTS[deployment.device]}
    return {"nodeSelector": labels} if labels else {}


def weights_volume(placed: Placed) -> list[dict[str, Any]]:
    """Returns a pod's volume with the folder of weights that its node has; none where they are fetched."""
    if placed.weights is None:
        return []
    return [{"name": WEIGHTS, "hostPath": {"path": placed.weights, "type": "Directory"}}]


def weights_mount(placed: Placed) -> list[dict[str, Any]]:
    """Returns where a container has that volume: at the node's own path."""
    return [] if placed.weights is None else [{"name": WEIGHTS, "mountPath": placed.weights, "readOnly": True}]


def check_placed(deployment: Resolved, platform: str, routers: Collection[str] = BLIND, replicas: int | None = None) -> None:
    """Raises InputError for a replica that no single machine of its kind holds, and for a router that the platform is not.

    `replicas` is how many there are at most, if not as many as the deployment says.
    """
    most = catalog.device(deployment.device).link.gpus_per_node
    if deployment.gpus_per_replica > most:
        allowed = f"at most {most} on {platform}, which starts a replica on one machine of {deployment.device}"
        raise InputError("gpus_per_replica", deployment.gpus_per_replica, allowed)
    if (replicas or deployment.replicas) > 1 and deployment.router not in routers:
        raise InputError("router", deployment.router, f"{', '.join(routers)} with several replicas on {platform}")


def refuse(placed: Placed, platform: str, **reasons: str) -> None:
    """Raises InputError for whatever is asked of a platform that has no such thing, with the reason given for it."""
    asked = {
        "prefill": placed.prefill is not None,
        "plan": placed.replicas_by_hour is not None,
        "node_selector": bool(placed.node_selector),
    }
    for field, reason in reasons.items():
        if asked[field]:
            raise InputError(field, "given", f"none on {platform}, {reason}")


def check_handed_over(deployment: Resolved, prefill: Resolved) -> None:
    """Raises InputError for a knob in which who reads the prompts makes other KV than who generates from it can take."""
    for knob in ("model", "dtype", "kv_cache_dtype", "block_size"):
        ours, theirs = getattr(deployment, knob), getattr(prefill, knob)
        if ours != theirs:
            raise InputError(f"prefill.{knob}", theirs, f"{ours}, as of the replicas that generate")


def split(command: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the variables that stand in front of a command, and the command without them."""
    rest, environment = list(command), dict[str, str]()
    if rest[:1] == ["env"]:
        rest.pop(0)
        while rest and "=" in rest[0]:
            name, _, environment[name] = rest.pop(0).partition("=")
    return environment, tuple(rest)


def joined(environment: dict[str, str], command: Sequence[str]) -> tuple[str, ...]:
    """Returns a command with its variables in front, as `split` takes it."""
    return (*(("env", *(f"{name}={value}" for name, value in environment.items())) if environment else ()), *command)


def pod_env(environment: Mapping[str, str], *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a pod's list of variables: those of a command, the token that weights of gated models are fetched with, and more."""
    token = {"name": HF_TOKEN, "valueFrom": {"secretKeyRef": {"name": TOKEN_SECRET, "key": HF_TOKEN, "optional": True}}}
    return [*({"name": name, "value": value} for name, value in environment.items()), token, *map(dict, more)]


def own_env(variables: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns those of a pod's variables that are the command's own."""
    return {each["name"]: each["value"] for each in variables if "value" in each}


def without(command: Sequence[str], *flags: str) -> tuple[str, ...]:
    """Returns a command without these flags, each of which has one value."""
    kept, rest = list[str](), iter(command)
    for part in rest:
        if part in flags:
            next(rest, None)
        else:
            kept.append(part)
    return tuple(kept)


def value_of(command: Sequence[str], flag: str) -> str:
    """Returns the value of a flag; raises InputError for a command without it."""
    for part, value in pairwise(command):
        if part == flag:
            return value
    raise InputError(flag, "missing", "a command that states it")
