"""Kubernetes: a Deployment of replicas, a Service before them, a disruption budget, and scaling by the clock with KEDA.

Objects as in the API of Kubernetes 1.37 (apps/v1, v1, policy/v1); KEDA's ScaledObject as in keda.sh/v1alpha1 with its cron
scaler, https://keda.sh/docs/latest/scalers/cron/. GPUs are asked for as the resource of NVIDIA's device plugin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.launch import names as engine_names
from deploy.platforms import ALL, Placed, Running
from deploy.platforms._common import (
    GPU,
    OWN_IMAGES,
    TOLERATIONS,
    check_placed,
    joined,
    node_selector,
    own_env,
    pod_env,
    refuse,
    split,
    weights_mount,
    weights_volume,
)
from simulator.spec.deployment import Resolved

FILE = "kubernetes.yaml"
ENGINES = engine_names()
IMAGES = OWN_IMAGES
# Weights are read, operators compiled and graphs captured before a server answers.
STARTUP_S, PERIOD_S = 1800, 10
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CRON_DAY = (1, 2, 3, 4, 5, 6, 0)
DAY_MINUTES = 24 * 60


def documents(deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
    """Returns the objects, the Deployment first."""
    most = max(placed.replicas_by_hour or (deployment.replicas,))
    check_placed(deployment, "kubernetes", replicas=most)
    refuse(placed, "kubernetes", prefill="where nothing hands KV from one engine to another")
    labels = {"app.kubernetes.io/name": placed.name, "app.kubernetes.io/managed-by": "trimtab"}
    found = [_deployment(deployment, placed, labels), _service(placed, labels)]
    if most > 1:
        found.append(_budget(placed, labels))
    if _follows_the_clock(placed):
        found.append(_by_the_clock(placed))
    return found


def _follows_the_clock(placed: Placed) -> bool:
    # KEDA takes no object without a trigger, of which the same number at every hour needs none.
    return len(set(placed.replicas_by_hour or ())) > 1


def parse(found: Sequence[Mapping[str, Any]]) -> Running:
    """Returns the command of the container and the replicas: the most of the clock where one scales them."""
    deployment = next(each for each in found if each["kind"] == "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    scaled = [each["spec"]["maxReplicaCount"] for each in found if each["kind"] == "ScaledObject"]
    return {
        ALL: (joined(own_env(container["env"]), container["command"]), int(scaled[0] if scaled else deployment["spec"]["replicas"]))
    }


def _deployment(deployment: Resolved, placed: Placed, labels: Mapping[str, str]) -> dict[str, Any]:
    environment, command = split(placed.command)
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PERIOD_S, "timeoutSeconds": 5}
    container: dict[str, Any] = {
        "name": "engine",
        "image": placed.image,
        "command": list(command),
        "env": pod_env(environment),
        "ports": [{"name": "http", "containerPort": placed.port}],
        "resources": {"limits": {GPU: str(deployment.gpus_per_replica)}},
        "startupProbe": {**probe, "failureThreshold": STARTUP_S // PERIOD_S},
        "readinessProbe": {**probe, "failureThreshold": 3},
        "livenessProbe": {**probe, "failureThreshold": 6},
        # Processes of tensor parallelism exchange through shared memory, of which a container has 64 MB by default.
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, *weights_mount(placed)],
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, *weights_volume(placed)],
        "terminationGracePeriodSeconds": 120,
        "tolerations": TOLERATIONS,
    }
    spec |= node_selector(deployment, placed)
    # Where the clock scales, the number is the scaler's to set.
    replicas = max(placed.replicas_by_hour or (deployment.replicas,))
    count = {} if _follows_the_clock(placed) else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": placed.name, "labels": dict(labels)},
        "spec": {
            **count,
            # A rollout has not failed while a replica may still start; 600 s by default.
            "progressDeadlineSeconds": STARTUP_S + 600,
            # A new version needs GPUs beside the old ones' only where there are some to spare.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": {"app.kubernetes.io/name": placed.name}},
            "template": {"metadata": {"labels": dict(labels)}, "spec": spec},
        },
    }


def _service(placed: Placed, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": placed.name, "labels": dict(labels)},
        "spec": {
            "selector": {"app.kubernetes.io/name": placed.name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _budget(placed: Placed, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": placed.name, "labels": dict(labels)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": placed.name}}},
    }


def _by_the_clock(placed: Placed) -> dict[str, Any]:
    hours = placed.replicas_by_hour or ()
    early = math.ceil(placed.start_up_s / 60)
    least = min(hours)
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": placed.name},
        "spec": {
            "scaleTargetRef": {"name": placed.name},
            "minReplicaCount": least,
            "maxReplicaCount": max(hours),
            "triggers": [_trigger(*each, early) for each in _spans(hours, least)],
        },
    }


def _trigger(day: int, start: int, end: int, replicas: int, early: int) -> dict[str, Any]:
    began, minute = divmod(day * DAY_MINUTES + start * 60 - early, DAY_MINUTES)
    metadata = {
        "timezone": "Etc/UTC",
        "start": f"{minute % 60} {minute // 60} * * {CRON_DAY[began % len(DAYS)]}",
        "end": f"59 {end - 1} * * {CRON_DAY[day]}",
        "desiredReplicas": str(replicas),
    }
    return {"type": "cron", "metadata": metadata}


def _spans(hours: Sequence[int], least: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields (day, first hour, hour after, replicas) of each stretch of a day with more than the least."""
    for day in range(len(DAYS)):
        own, start = hours[24 * day : 24 * day + 24], 0
        for hour in range(1, len(own) + 1):
            if hour == len(own) or own[hour] != own[start]:
                if own[start] > least:
                    yield day, start, hour, own[start]
                start = hour
