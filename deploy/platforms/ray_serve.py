"""Ray Serve LLM of Ray 2.55: a Serve config whose application builds an OpenAI endpoint over replicas of vLLM 0.19.

`serve deploy` and the RayService of KubeRay take it. Names as in ray/serve/schema.py (ServeDeploySchema) and
ray/llm/_internal/serve/core/configs/llm_config.py (LLMConfig); Ray 2.55 asks for vLLM 0.18 or newer, 2.56 for 0.22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.platforms import ALL, Placed, Running
from deploy.platforms._common import check_placed, joined, refuse, split, value_of, without
from deploy.platforms._kwargs import from_flags, to_flags
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

FILE = "ray-serve.yaml"
ENGINES = ("vllm",)
IMAGES = None
# Serve sends a request to the less loaded of two replicas.
ROUTERS = ("power_of_two",)
BUILDER = "ray.serve.llm:build_openai_app"
# What Ray calls the GPU that it finds on a node (ray/util/accelerators/accelerators.py); it does not tell an A100's memory.
TYPES = {
    "A100-40G-SXM": "A100",
    "A100-80G-PCIe": "A100",
    "A100-80G-SXM": "A100",
    "B200-SXM": "B200",
    "H100-SXM": "H100",
    "H200-SXM": "H200",
    "L4": "L4",
    "L40S": "L40S",
}
SERVER_FLAGS = ("--served-model-name", "--host", "--port")


def documents(deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
    """Returns the one Serve config."""
    where = "which places replicas by the number and type of the GPUs that they ask for"
    refuse(placed, "ray_serve", plan="whose scaling follows load, not the clock", node_selector=where, prefill="as rendered here")
    check_placed(deployment, "ray_serve", ROUTERS)
    if deployment.data_parallel_size > 1:
        raise InputError("data_parallel_size", deployment.data_parallel_size, "1 on ray_serve, whose replica is one engine")
    environment, command = split(placed.command)
    if tuple(command[:2]) != ("vllm", "serve"):
        raise InputError("command", " ".join(command[:2]), "a command of vllm")
    served = value_of(command, "--served-model-name")
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": served, "model_source": command[2]},
        **({"accelerator_type": TYPES[deployment.device]} if deployment.device in TYPES else {}),
        "engine_kwargs": from_flags(without(command[3:], *SERVER_FLAGS)),
        "deployment_config": {"num_replicas": deployment.replicas},
    }
    if environment:
        config["runtime_env"] = {"env_vars": environment}
    application = {"name": placed.name, "route_prefix": "/", "import_path": BUILDER, "args": {"llm_configs": [config]}}
    http = {"host": value_of(command, "--host"), "port": int(value_of(command, "--port"))}
    return [{"proxy_location": "EveryNode", "http_options": http, "applications": [application]}]


def parse(found: Sequence[Mapping[str, Any]]) -> Running:
    """Returns the command that one replica's engine would be on its own, and how many there are."""
    [[application], http] = found[0]["applications"], found[0]["http_options"]
    [config] = application["args"]["llm_configs"]
    model = config["model_loading_config"]
    server = ("--served-model-name", model["model_id"], "--host", http["host"], "--port", str(http["port"]))
    own = ("vllm", "serve", model["model_source"], *server, *to_flags(config["engine_kwargs"]))
    environment = config.get("runtime_env", {}).get("env_vars", {})
    return {ALL: (joined(environment, own), int(config["deployment_config"]["num_replicas"]))}
