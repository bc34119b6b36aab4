"""llm-d: values of its chart llm-d-modelservice 0.4, whose pods serve all, or prefill and decode apart.

Names as in charts/llm-d-modelservice/values.yaml of github.com/llm-d-incubation/llm-d-modelservice, v0.4.0. Without a gateway a
Service of Kubernetes shares the requests; with prefill apart an InferencePool over the labels here must choose both pods.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.platforms import ALL, DECODE, PREFILL, Placed, Running
from deploy.platforms._common import (
    GPU,
    OWN_IMAGES,
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
    without,
)
from deploy.platforms.kubernetes import PERIOD_S, STARTUP_S
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

FILE = "llm-d.values.yaml"
ENGINES = ("vllm",)
IMAGES = OWN_IMAGES
# The sidecar of a decoding pod listens on the pod's port, and its engine behind it.
BEHIND_SIDECAR = "8200"
TRANSFER = ("--kv-transfer-config", json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both"}))
# A folder, where a model's name is `owner/name`.
PATH = re.compile(r"[/.~]")
SIDE_CHANNEL = "VLLM_NIXL_SIDE_CHANNEL_HOST"


def documents(deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
    """Returns the one document of values."""
    refuse(placed, "llm_d", plan="whose chart has no clock")
    apart = placed.prefill is not None
    check_placed(deployment, "llm_d")
    if placed.prefill is not None:
        check_placed(placed.prefill.deployment, "llm_d")
        check_handed_over(deployment, placed.prefill.deployment)
    _, command = split(placed.command)
    if PATH.match(command[2]):
        raise InputError("--model", command[2], "a name on Hugging Face with llm_d, whose chart fetches it from there")
    port, labels = int(value_of(command, "--port")), {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": placed.name}
    values: dict[str, Any] = {
        "fullnameOverride": placed.name,
        "multinode": False,
        "modelArtifacts": {
            "name": value_of(command, "--served-model-name"),
            "uri": f"hf://{command[2]}",
            # No limit: the chart's own of 5 MiB has a pod evicted as soon as it fetches weights.
            "size": "0",
            "labels": labels,
        },
        "routing": {"servicePort": port, "proxy": {"enabled": apart, "targetPort": int(BEHIND_SIDECAR)}},
        DECODE: _pool(DECODE if apart else ALL, deployment, placed.command, placed),
    }
    if placed.prefill is not None:
        values[PREFILL] = _pool(PREFILL, placed.prefill.deployment, placed.prefill.command, placed)
        return [values]
    values[PREFILL] = {"create": False}
    values["extraObjects"] = [_service(placed, labels, port)]
    return [values]


def parse(found: Sequence[Mapping[str, Any]]) -> Running:
    """Returns the command of each kind of pod as its engine's own, and how many there are."""
    [values] = found
    apart = values[PREFILL]["create"]
    running: Running = {}
    for role, key in ((DECODE, DECODE), (PREFILL, PREFILL)) if apart else ((ALL, DECODE),):
        [container] = values[key]["containers"]
        command = without((*container["command"], *container["args"]), TRANSFER[0])
        own = _with_port(command, str(values["routing"]["servicePort"]))
        running[role] = (joined(own_env(container["env"]), own), int(values[key]["replicas"]))
    return running


def _pool(role: str, deployment: Resolved, command: Sequence[str], placed: Placed) -> dict[str, Any]:
    environment, own = split(command)
    if tuple(own[:2]) != ("vllm", "serve"):
        raise InputError("command", " ".join(own[:2]), "a command of vllm")
    if role == DECODE:
        own = _with_port(own, BEHIND_SIDECAR)
    port = int(value_of(own, "--port"))
    probe = {"httpGet": {"path": "/health", "port": port}, "periodSeconds": PERIOD_S, "timeoutSeconds": 5}
    # KV is fetched from this address.
    address = {"name": SIDE_CHANNEL, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container: dict[str, Any] = {
        "name": "vllm",
        "image": placed.image,
        "modelCommand": "custom",
        "command": list(own[:2]),
        "args": [*own[2:], *(() if role == ALL else TRANSFER)],
        "env": pod_env(environment, *(() if role == ALL else (address,))),
        "ports": [{"containerPort": port, "name": "http"}],
        "resources": {kind: {GPU: str(deployment.gpus_per_replica)} for kind in ("limits", "requests")},
        "mountModelVolume": True,
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
        "extraConfig": {
            "startupProbe": {**probe, "failureThreshold": STARTUP_S // PERIOD_S},
            "readinessProbe": {**probe, "failureThreshold": 3},
            "livenessProbe": {**probe, "failureThreshold": 6},
        },
    }
    return {
        "create": True,
        "replicas": deployment.replicas,
        **node_selector(deployment, placed),
        "parallelism": {"tensor": deployment.tensor_parallel_size, "data": deployment.data_parallel_size, "workers": 1},
        "extraConfig": {"tolerations": TOLERATIONS},
        "containers": [container],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }


def _with_port(command: Sequence[str], port: str) -> tuple[str, ...]:
    at = list(command).index("--port") + 1
    return (*command[:at], port, *command[at + 1 :])


def _service(placed: Placed, labels: Mapping[str, str], port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": placed.name, "labels": dict(labels)},
        "spec": {"selector": dict(labels), "ports": [{"name": "http", "port": 80, "targetPort": port}]},
    }
