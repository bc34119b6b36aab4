"""Documents of platforms: what they state is the deployment, and what they cannot place is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from deploy.launch import ASSUMED, NAMED, PLACED, launcher
from deploy.platforms import ALL, DECODE, PREFILL, Placed, Pool, names, platform
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


PROFILES = {"vllm": "vllm-0.19", "sglang": "sglang-0.5", "tensorrt_llm": "tensorrt_llm-1.2", "torch": "vllm-0.19"}
# Who shares requests on a platform that is not blind to the replicas' load.
ROUTERS = {"ray_serve": "power_of_two", "dynamo": "least_outstanding"}
APART = ("dynamo", "llm_d")


def resolved(engine: str = "vllm", **knobs: Any) -> Resolved:
    """Returns a deployment behind a router that platforms are."""
    return resolve(Deployment.parse({"model": MODEL, "engine": PROFILES[engine], "router": "random", **knobs}))


def placed(deployment: Resolved, engine: str = "vllm", **given: Any) -> Placed:
    """Returns where the deployment is to run."""
    return Placed("trimtab-s-1-0", told(deployment, engine), 8000, "registry/engine:1", **given)


def told(deployment: Resolved, engine: str = "vllm") -> tuple[str, ...]:
    """Returns the command of a replica that others reach."""
    return tuple(launcher(engine).arguments(deployment, MODEL, 8000, host="0.0.0.0"))


def written(name: str, deployment: Resolved, where: Placed) -> list[dict[str, Any]]:
    """Returns a platform's documents as they are read from a file."""
    return list(yaml.safe_load_all(yaml.safe_dump_all(platform(name).documents(deployment, where), sort_keys=False)))


def supported(engine: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Returns knobs that the engine can be told."""
    more: dict[str, Any] = {"cudagraph_mode": "FULL_DECODE_ONLY"} if engine == "torch" else {}
    if engine == "torch":
        more |= {"tensor_parallel_size": 1}
    if engine == "tensorrt_llm":
        more |= {"scheduling_policy": "fcfs"}
    return {**knobs, **more}


@pytest.mark.parametrize(("name", "engine"), [(name, engine) for name in names() for engine in platform(name).ENGINES])
@pytest.mark.parametrize("knobs", VARIED, ids=lambda knobs: "-".join(str(value) for value in knobs.values()))
def test_what_a_platform_is_told_is_the_deployment(name: str, engine: str, knobs: dict[str, Any]) -> None:
    deployment = resolved(engine, **supported(engine, {"router": ROUTERS.get(name, "random"), **knobs}))
    running = platform(name).parse(written(name, deployment, placed(deployment, engine)))
    assert running == {ALL: (told(deployment, engine), deployment.replicas)}
    stated = launcher(engine).parse(running[ALL][0])
    assert stated == {knob: getattr(deployment, knob) for knob in stated}
    named = {*stated, *NAMED, *PLACED, *ASSUMED, *(("engine",) if engine == "torch" else ())}
    assert named >= set(type(deployment).model_fields) - {"quantization"}


@pytest.mark.parametrize(("name", "engine"), [(name, engine) for name in APART for engine in platform(name).ENGINES])
@pytest.mark.parametrize("knobs", VARIED[:9], ids=lambda knobs: knobs["device"])
def test_prefill_and_decode_apart_are_both_as_told(name: str, engine: str, knobs: dict[str, Any]) -> None:
    deployment = resolved(engine, **knobs)
    reads = resolved(engine, **{**knobs, "max_num_batched_tokens": 16384, "replicas": 3, "async_scheduling": False})
    where = placed(deployment, engine, prefill=Pool(reads, told(reads, engine)))
    documents = written(name, deployment, where)
    assert platform(name).parse(documents) == {
        DECODE: (told(deployment, engine), deployment.replicas),
        PREFILL: (told(reads, engine), 3),
    }
    text = yaml.safe_dump_all(documents)
    assert ("NixlConnector" if engine == "vllm" else "--disaggregation-transfer-backend") in text


@pytest.mark.parametrize("name", APART)
def test_kv_that_cannot_be_handed_over_is_refused(name: str) -> None:
    deployment, reads = resolved(device="H100-SXM"), resolved(device="H100-SXM", block_size=32)
    with pytest.raises(InputError, match=r"prefill\.block_size: 32 is not allowed; allowed: 16"):
        platform(name).documents(deployment, placed(deployment, prefill=Pool(reads, told(reads))))


@pytest.mark.parametrize("name", sorted(set(names()) - set(APART)))
def test_a_platform_that_hands_no_kv_over_says_so(name: str) -> None:
    deployment = resolved(device="H100-SXM", router=ROUTERS.get(name, "random"))
    with pytest.raises(InputError, match=f"prefill: 'given' is not allowed; allowed: none on {name}"):
        platform(name).documents(deployment, placed(deployment, prefill=Pool(deployment, told(deployment))))


@pytest.mark.parametrize("name", ["dynamo", "kubernetes", "llm_d"])
def test_replicas_run_on_nodes_with_their_gpu_or_on_those_named(name: str) -> None:
    deployment = resolved(device="H100-SXM")
    assert "nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3" in yaml.safe_dump(written(name, deployment, placed(deployment))[0])
    given = yaml.safe_dump(written(name, deployment, placed(deployment, node_selector={"pool": "h100"}))[0])
    assert "pool: h100" in given and "gpu.product" not in given
    unlabelled = resolved(device="RTX-4090")
    assert "nodeSelector" not in yaml.safe_dump(written(name, unlabelled, placed(unlabelled))[0])


def test_ray_places_replicas_on_the_type_of_gpu_where_it_knows_one() -> None:
    from ray.util.accelerators import accelerators

    from deploy.platforms.ray_serve import TYPES

    assert set(TYPES.values()) <= {value for name, value in vars(accelerators).items() if name.startswith("NVIDIA_")}
    for device, type_of in (("H200-SXM", "H200"), ("RTX-4090", None)):
        deployment = resolved(device=device, router="power_of_two")
        [found] = written("ray_serve", deployment, placed(deployment))
        [config] = found["applications"][0]["args"]["llm_configs"]
        assert config.get("accelerator_type") == type_of


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


@pytest.mark.parametrize("name", ["compose", "dynamo", "kubernetes"])
def test_a_folder_of_weights_is_where_the_engine_looks_for_it(name: str) -> None:
    deployment, folder = resolved(device="H100-SXM"), "/srv/my$weights"
    command = tuple(launcher("vllm").arguments(deployment, folder, 8000, host="0.0.0.0"))
    documents = written(name, deployment, replace(placed(deployment), command=command, weights=folder))
    assert platform(name).parse(documents)[ALL][0] == command
    if name == "compose":
        [mount] = documents[0]["services"]["engine-0"]["volumes"]
        told = folder.replace("$", "$$")
        assert mount == {"type": "bind", "source": told, "target": told, "read_only": True}
        return
    pods = [documents[0]["spec"]["template"]["spec"]] if name == "kubernetes" else []
    for service in documents[0]["spec"]["services"].values() if name == "dynamo" else ():
        pods.append({**service["extraPodSpec"], "containers": [service["extraPodSpec"]["mainContainer"]]})
    for pod in pods:
        assert pod["nodeSelector"] and {"name": "weights", "hostPath": {"path": folder, "type": "Directory"}} in pod["volumes"]
        assert {"name": "weights", "mountPath": folder, "readOnly": True} in pod["containers"][0]["volumeMounts"]
    fetched = yaml.safe_dump_all(written(name, deployment, placed(deployment)))
    assert "hostPath" not in fetched


@pytest.mark.parametrize("name", ["dynamo", "kubernetes", "llm_d"])
def test_pods_run_on_nodes_that_are_tainted_for_gpus(name: str) -> None:
    deployment = resolved(device="H100-SXM")
    assert "key: nvidia.com/gpu\n" in yaml.safe_dump(written(name, deployment, placed(deployment))[0])


def test_variables_in_front_of_a_command_become_those_of_the_container() -> None:
    deployment = resolved(device="H100-SXM", pipeline_parallel_size=2, pp_layer_partition=[15, 17])
    for name in names():
        running = platform(name).parse(written(name, deployment, placed(deployment)))
        assert launcher("vllm").parse(running[ALL][0])["pp_layer_partition"] == (15, 17)


@pytest.mark.parametrize("name", ["dynamo", "kubernetes", "llm_d"])
def test_pods_fetch_gated_weights_with_a_token_and_start_without_one(name: str) -> None:
    deployment = resolved(device="H100-SXM", pipeline_parallel_size=2, pp_layer_partition=[15, 17])
    found = written(name, deployment, placed(deployment))[0]
    [env] = {
        "dynamo": lambda: [found["spec"]["services"]["Worker"]["envs"]],
        "kubernetes": lambda: [each["env"] for each in found["spec"]["template"]["spec"]["containers"]],
        "llm_d": lambda: [each["env"] for each in found["decode"]["containers"]],
    }[name]()
    token = {"name": "hf-token-secret", "key": "HF_TOKEN", "optional": True}
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}} in env
    assert platform(name).parse([found])[ALL][0] == told(deployment), "the token is no part of the command"


def test_weights_fit_the_volume_that_the_chart_of_llm_d_makes() -> None:
    deployment = resolved(device="H100-SXM")
    [values] = written("llm_d", deployment, placed(deployment))
    # The chart's default is 5Mi, and takes "0" for none; its engine writes what it fetches there.
    assert values["decode"]["containers"][0]["mountModelVolume"] and values["modelArtifacts"]["size"] == "0"


def test_compose_passes_the_token_of_the_shell_on() -> None:
    deployment = resolved(device="H100-SXM")
    [found] = written("compose", deployment, placed(deployment))
    assert found["services"]["engine-0"]["environment"] == {"HF_TOKEN": None}


def test_a_folder_is_no_model_for_a_chart_that_fetches_it() -> None:
    deployment = resolved(device="H100-SXM")
    command = tuple(launcher("vllm").arguments(deployment, "/models/llama", 8000, host="0.0.0.0"))
    where = replace(placed(deployment), command=command)
    with pytest.raises(InputError, match="--model: '/models/llama' is not allowed; allowed: a name on Hugging Face"):
        platform("llm_d").documents(deployment, where)
    assert platform("kubernetes").documents(deployment, where)


@pytest.mark.parametrize(
    ("name", "knobs", "given", "field"),
    [
        ("kubernetes", {"device": "H100-SXM", "tensor_parallel_size": 8, "pipeline_parallel_size": 2}, {}, "gpus_per_replica"),
        ("kubernetes", {"device": "H100-SXM", "replicas": 2, "router": "least_outstanding"}, {}, "router"),
        ("compose", {"device": "H100-SXM", "replicas": 9}, {}, "replicas"),
        ("compose", {"device": "H100-SXM"}, {"node_selector": {"a": "b"}}, "node_selector"),
        ("compose", {"device": "H100-SXM"}, {"replicas_by_hour": (1,) * 168}, "plan"),
        ("dynamo", {"device": "H100-SXM"}, {"replicas_by_hour": (1,) * 168}, "plan"),
        ("dynamo", {"device": "H100-SXM", "data_parallel_size": 2}, {}, "data_parallel_size"),
        ("dynamo", {"device": "H100-SXM", "replicas": 2, "router": "prefix_aware"}, {}, "router"),
        ("llm_d", {"device": "H100-SXM", "tensor_parallel_size": 8, "pipeline_parallel_size": 2}, {}, "gpus_per_replica"),
        ("llm_d", {"device": "H100-SXM", "replicas": 2, "router": "power_of_two"}, {}, "router"),
        ("ray_serve", {"device": "H100-SXM", "replicas": 2}, {}, "router"),
        ("ray_serve", {"device": "H100-SXM"}, {"node_selector": {"a": "b"}}, "node_selector"),
        ("ray_serve", {"device": "H100-SXM", "data_parallel_size": 2}, {}, "data_parallel_size"),
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
