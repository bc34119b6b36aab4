"""Kubernetes and Compose documents: what they state is the deployment, and what they cannot place is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy.launch import ASSUMED, NAMED, PLACED, launcher
from deploy.platforms import Placed, names, platform
from simulator.errors import InputError
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment, Resolved

MODEL = "meta-llama/Llama-3.1-8B"
VARIED: list[dict[str, Any]] = [
    {"device": device, "tensor_parallel_size": tensor, "max_num_batched_tokens": tokens, "max_num_seqs": seqs, "replicas": replicas}
    for device, tensor, tokens, seqs, replicas in (
        ("H100-SXM", 1, 2048, 256, 1), ("H100-SXM", 2, 512, 64, 2), ("H100-SXM", 4, 8192, 128, 2), ("H200-SXM", 1, 4096, 256, 8),
        ("H200-SXM", 8, 16384, 512, 1), ("A100-80G-SXM", 1, 1024, 32, 4), ("A100-80G-SXM", 2, 2048, 256, 3),
        ("L40S", 1, 512, 16, 2), ("L40S", 2, 2048, 64, 1), ("L4", 1, 512, 8, 1),
    )
]  # fmt: skip
VARIED += [
    {**each, "scheduling_policy": "priority", "enable_prefix_caching": False, "gpu_memory_utilization": 0.85} for each in VARIED
]


def resolved(**knobs: Any) -> Resolved:
    """Returns a deployment of vLLM behind a router that platforms are."""
    return resolve(Deployment.parse({"model": MODEL, "engine": "vllm-0.19", "router": "random", **knobs}))


def placed(deployment: Resolved, **given: Any) -> Placed:
    """Returns where the deployment is to run."""
    command = launcher("vllm").arguments(deployment, MODEL, 8000, host="0.0.0.0")
    return Placed("trimtab-s-1-0", tuple(command), 8000, "vllm/vllm-openai:v0.19.0", **given)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("knobs", VARIED, ids=lambda knobs: "-".join(str(value) for value in knobs.values()))
def test_what_a_platform_is_told_is_the_deployment(name: str, knobs: dict[str, Any]) -> None:
    deployment = resolved(**knobs)
    found = platform(name).documents(deployment, placed(deployment))
    command, replicas = platform(name).parse(list(yaml.safe_load_all(yaml.safe_dump_all(found))))
    assert replicas == deployment.replicas
    stated = launcher("vllm").parse(command)
    assert stated == {knob: getattr(deployment, knob) for knob in stated}
    assert {*stated, *NAMED, *PLACED, *ASSUMED} >= set(type(deployment).model_fields) - {"quantization"}


@pytest.mark.parametrize("knobs", VARIED[:4], ids=lambda knobs: knobs["device"])
def test_kubernetes_objects_are_as_its_schemas_say(knobs: dict[str, Any]) -> None:
    import kubernetes_validate

    deployment = resolved(**knobs)
    hours = tuple(1 + hour % 24 // 8 for hour in range(168))
    for given in ({}, {"node_selector": {"nvidia.com/gpu.present": "true"}}, {"replicas_by_hour": hours}):
        for each in platform("kubernetes").documents(deployment, placed(deployment, **given)):
            if each["kind"] != "ScaledObject":
                kubernetes_validate.validate(each, "1.37", strict=True)
    spoilt = platform("kubernetes").documents(deployment, placed(deployment))[0]
    spoilt["spec"]["template"]["spec"]["containers"][0]["port"] = 8000
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, "1.37", strict=True)


def test_the_clock_has_the_replicas_of_every_hour() -> None:
    deployment = resolved(device="H100-SXM")
    hours = tuple(2 + (hour % 24 in range(9, 18)) * (3 if hour < 120 else 1) for hour in range(168))
    found = platform("kubernetes").documents(deployment, placed(deployment, replicas_by_hour=hours))
    [scaled] = [each for each in found if each["kind"] == "ScaledObject"]
    least = scaled["spec"]["minReplicaCount"]
    replayed = [least] * 168
    for trigger in scaled["spec"]["triggers"]:
        told = trigger["metadata"]
        minute, start, *_, day = told["start"].split()
        last_minute, last, *_, same = told["end"].split()
        assert (minute, last_minute, told["timezone"], day) == ("0", "59", "Etc/UTC", same)
        first = 24 * ((int(day) - 1) % 7)
        for hour in range(first + int(start), first + int(last) + 1):
            replayed[hour] = int(told["desiredReplicas"])
    assert tuple(replayed) == hours
    assert "replicas" not in found[0]["spec"]
    assert platform("kubernetes").parse(found)[1] == max(hours)


def test_variables_in_front_of_a_command_become_those_of_the_container() -> None:
    deployment = resolved(device="H100-SXM", pipeline_parallel_size=2, pp_layer_partition=[15, 17])
    for name in names():
        command, _ = platform(name).parse(platform(name).documents(deployment, placed(deployment)))
        assert launcher("vllm").parse(command)["pp_layer_partition"] == (15, 17)


@pytest.mark.parametrize(
    ("name", "knobs", "given", "field"),
    [
        ("kubernetes", {"device": "H100-SXM", "tensor_parallel_size": 8, "pipeline_parallel_size": 2}, {}, "gpus_per_replica"),
        ("kubernetes", {"device": "H100-SXM", "replicas": 2, "router": "least_outstanding"}, {}, "router"),
        ("compose", {"device": "H100-SXM", "replicas": 9}, {}, "replicas"),
        ("compose", {"device": "H100-SXM"}, {"node_selector": {"a": "b"}}, "node_selector"),
        ("compose", {"device": "H100-SXM"}, {"replicas_by_hour": (1,) * 168}, "plan"),
    ],
)
def test_what_cannot_be_placed_is_refused_by_name(name: str, knobs: dict[str, Any], given: dict[str, Any], field: str) -> None:
    deployment = resolved(**knobs)
    with pytest.raises(InputError) as caught:
        platform(name).documents(deployment, placed(deployment, **given))
    assert caught.value.field == field


def test_several_replicas_of_compose_have_gpus_of_their_own_and_one_front() -> None:
    deployment = resolved(device="H100-SXM", tensor_parallel_size=2, replicas=3)
    [found] = platform("compose").documents(deployment, placed(deployment))
    engines = [each for name, each in found["services"].items() if name.startswith("engine-")]
    ids = [each["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for each in engines]
    assert ids == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert all(f"server engine-{place}:8000;" in found["configs"]["front"]["content"] for place in range(3))
    assert [name for name, each in found["services"].items() if "ports" in each] == ["front"]
