"""NVIDIA Dynamo 1.1: a DynamoGraphDeployment with its frontend and workers, each of which does all, or prefill or decode alone.

Objects as nvidia.com/v1alpha1 (deploy/operator/config/crd/bases of github.com/ai-dynamo/dynamo), commands as in ai-dynamo 1.1.1
(dynamo/frontend/frontend_args.py, dynamo/vllm, dynamo/sglang), which runs vLLM 0.19.0 and SGLang 0.5.10.post1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.platforms import ALL, DECODE, PREFILL, Placed, Running
from deploy.platforms._common import (
    TOLERATIONS,
    check_handed_over,
    check_placed,
    joined,
    node_selector,
    own_env,
    pod_env,
    refuse,
    split,
    value_of,
    weights_mount,
    weights_volume,
    without,
)
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

FILE = "dynamo.yaml"
ENGINES = ("sglang", "vllm")
IMAGES = {engine: f"nvcr.io/nvidia/ai-dynamo/{engine}-runtime:1.1.1" for engine in ENGINES}
# Ours, and what the frontend calls them.
ROUTERS = {
    "round_robin": "round-robin",
    "random": "random",
    "power_of_two": "power-of-two",
    "least_outstanding": "least-loaded",
}
VLLM, SGLANG = ("vllm", "serve"), ("python3", "-m", "sglang.launch_server")
MODE = "--disaggregation-mode"
TRANSFER = ("--kv-transfer-config", json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both"}))
BOOTSTRAP = ("--disaggregation-transfer-backend", "nixl", "--disaggregation-bootstrap-port", "12345")
HOST = "0.0.0.0"


def documents(deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
    """Returns the one object."""
    refuse(placed, "dynamo", plan="whose planner has no clock")
    pools = {ALL: (deployment, placed.command)}
    if placed.prefill is not None:
        check_handed_over(deployment, placed.prefill.deployment)
        pools = {DECODE: pools[ALL], PREFILL: (placed.prefill.deployment, placed.prefill.command)}
    for pool, _ in pools.values():
        check_placed(pool, "dynamo", tuple(ROUTERS))
        if pool.data_parallel_size > 1:
            raise InputError("data_parallel_size", pool.data_parallel_size, "1 on dynamo, whose workers are one engine each")
    services = {"Frontend": _frontend(deployment, placed)}
    services |= {_named(role): _worker(role, *pool, placed) for role, pool in pools.items()}
    spec = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}
    return [{**spec, "metadata": {"name": placed.name}, "spec": {"services": services}}]


def parse(found: Sequence[Mapping[str, Any]]) -> Running:
    """Returns the command of each kind of worker as its engine's own, and how many there are."""
    services = found[0]["spec"]["services"]
    front = services["Frontend"]["extraPodSpec"]["mainContainer"]["args"]
    running: Running = {}
    for role in (ALL, DECODE, PREFILL):
        if (worker := services.get(_named(role))) is not None:
            own = _own(worker["extraPodSpec"]["mainContainer"]["args"], value_of(front, "--http-port"))
            running[role] = (joined(own_env(worker["envs"]), own), int(worker["replicas"]))
    return running


def _named(role: str) -> str:
    return {ALL: "Worker", DECODE: "DecodeWorker", PREFILL: "PrefillWorker"}[role]


def _frontend(deployment: Resolved, placed: Placed) -> dict[str, Any]:
    _, command = split(placed.command)
    args = ["-m", "dynamo.frontend", "--http-port", value_of(command, "--port")]
    if deployment.replicas > 1:
        args += ["--router-mode", ROUTERS[deployment.router]]
    container = {"image": placed.image, "command": ["python3"], "args": args}
    # It reads the model's tokenizer, from a folder only where that is.
    pod = _pod(container, placed) | (node_selector(deployment, placed) if placed.weights else {})
    return {"componentType": "frontend", "replicas": 1, "envs": pod_env({}), "extraPodSpec": pod}


def _pod(container: dict[str, Any], placed: Placed) -> dict[str, Any]:
    if placed.weights is None:
        return {"mainContainer": container}
    return {
        "mainContainer": {**container, "volumeMounts": weights_mount(placed)},
        "volumes": weights_volume(placed),
        "tolerations": TOLERATIONS,
    }


def _worker(role: str, deployment: Resolved, command: Sequence[str], placed: Placed) -> dict[str, Any]:
    environment, own = split(command)
    container = {"image": placed.image, "command": ["python3"], "args": list(_dynamo(own, role))}
    pod = _pod(container, placed) | {"tolerations": TOLERATIONS} | node_selector(deployment, placed)
    return {
        "componentType": "worker",
        **({} if role == ALL else {"subComponentType": role}),
        "replicas": deployment.replicas,
        "resources": {"limits": {"gpu": str(deployment.gpus_per_replica)}},
        "envs": pod_env(environment),
        "extraPodSpec": pod,
    }


def _dynamo(command: Sequence[str], role: str) -> tuple[str, ...]:
    """Returns the arguments of Python that start the engine of a command as Dynamo's worker."""
    mode = () if role == ALL else (MODE, role)
    if tuple(command[:2]) == VLLM:
        # Its worker is no server of HTTP, and takes the model as a flag.
        flags = without(command[3:], "--host", "--port")
        return ("-m", "dynamo.vllm", "--model", command[2], *flags, *mode, *(TRANSFER if mode else ()))
    if tuple(command[:3]) == SGLANG:
        return ("-m", "dynamo.sglang", *command[3:], *mode, *(BOOTSTRAP if mode else ()))
    raise InputError("command", " ".join(command[:3]), f"a command of {' or '.join(ENGINES)}")


def _own(args: Sequence[str], port: str) -> tuple[str, ...]:
    """Returns the engine's own command of a worker's arguments."""
    if args[1] == "dynamo.sglang":
        return (*SGLANG, *without(args[2:], MODE, BOOTSTRAP[0], BOOTSTRAP[2]))
    rest = without(args[4:], MODE, TRANSFER[0])
    return (*VLLM, args[3], *rest[:2], "--host", HOST, "--port", port, *rest[2:])
