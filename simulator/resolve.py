"""Resolving a Deployment: every knob left out takes the engine profile's default, and what cannot run is refused."""

from __future__ import annotations

from types import ModuleType

from simulator import catalog, features
from simulator.activations import DTYPE_BYTES
from simulator.errors import InputError, unknown_name
from simulator.memory import check_parallelism, check_partition
from simulator.optime.families import Shard
from simulator.optime.precision import check_precision
from simulator.spec.deployment import Deployment, Resolved
from simulator.spec.device import Device
from simulator.spec.engine import Defaults, EngineProfile
from simulator.spec.model import Model

# Distributions of tokens over experts for which there are measured times (aiconfigurator-core, MoE tables).
EXPERT_LOADS = ("balanced", "power_law_1.01", "power_law_1.2")
# Knobs that only some schedulers heed, and the value with which a scheduler does as it would without the knob.
SOME_HEED: dict[str, object] = {
    "enable_prefix_caching": False,
    "long_prefill_token_threshold": 0,
    "scheduler_reserve_full_isl": True,
    "scheduling_policy": "fcfs",
}


def resolve(deployment: Deployment, field: str = "deployment") -> Resolved:
    """Returns the deployment with every knob set; raises InputError under `field` for names and values that cannot be."""
    model = catalog.model(deployment.model, f"{field}.model")
    engine = catalog.engine(deployment.engine, f"{field}.engine")
    device = catalog.device(deployment.device, f"{field}.device")
    _check_vendor(deployment, device, engine, field)
    given = {knob: value for knob, value in deployment.model_dump().items() if value is not None}
    quantization = deployment.quantization or model.quantization or "none"
    unset: dict[str, object] = {"num_gpu_blocks_override": None, "pp_layer_partition": None, "scheduler_options": {}}
    unset |= {"quantization": quantization, "kv_cache_dtype": "auto"}
    unset |= {"attention_backend": "auto", "kv_allocator": "paged", "determinism": "none"}
    knobs: dict[str, object] = {**unset, **engine.defaults.model_dump(), **given}
    for kind in ("scheduler", "router"):
        if knobs[kind] not in catalog.names(f"{kind}s"):
            raise unknown_name(f"{field}.{kind}", knobs[kind], catalog.names(f"{kind}s"))
    knobs.update(_unheeded(knobs, engine.defaults, field))
    check_parallelism(model, deployment.tensor_parallel_size, deployment.pipeline_parallel_size, field)
    check_partition(model, deployment.pipeline_parallel_size, deployment.pp_layer_partition, field)
    _check_links(deployment, model, device, field)
    check_precision(deployment, quantization, model, device, engine, field)
    knobs["enable_expert_parallel"] = _expert_parallel(deployment, model, field)
    knobs["dtype"] = _dtype(str(knobs["dtype"]), model, field)
    kv_bytes = 1 if knobs["kv_cache_dtype"] == "fp8" else DTYPE_BYTES[str(knobs["dtype"])]
    knobs |= features.resolved(deployment, knobs, model, kv_bytes, field)
    max_model_len = _max_model_len(deployment, model, field)
    tokens, sequences = _batch_limits(deployment, engine, device, max_model_len, field)
    limits = {"max_model_len": max_model_len, "max_num_batched_tokens": tokens, "max_num_seqs": sequences}
    resolved = _with_options(Resolved.parse({**knobs, **limits}, field), field)
    try:
        catalog.module("families", model.family, f"{field}.model.family").check(Shard.of(model, resolved))
    except InputError as error:
        raise InputError(error.field.replace("deployment", field, 1), error.value, error.allowed) from None
    return resolved


def _unheeded(knobs: dict[str, object], defaults: Defaults, field: str) -> dict[str, object]:
    """Returns the knobs that the scheduler does not heed, at the value that says so.

    Raises InputError for any other value than that and the engine's default, which would seem to do something.
    """
    name = str(knobs["scheduler"])
    heeded = heeds(catalog.module("schedulers", name, f"{field}.scheduler"))
    unheeded = {knob: value for knob, value in SOME_HEED.items() if knob not in heeded}
    for knob, value in unheeded.items():
        if knobs[knob] not in (value, getattr(defaults, knob)):
            who = [each for each in catalog.names("schedulers") if knob in heeds(catalog.module("schedulers", each, field))]
            shown = str(value).lower() if isinstance(value, bool) else value
            raise InputError(f"{field}.{knob}", knobs[knob], f"{shown} with {name}; other values with {', '.join(who)}")
    return unheeded


def heeds(policy: ModuleType) -> tuple[str, ...]:
    """Returns which of the knobs of SOME_HEED a scheduler heeds."""
    caching: tuple[str, ...] = ("enable_prefix_caching",) if policy.CACHES else ()
    return (*getattr(policy, "KNOBS", ()), *caching)


def _with_options(resolved: Resolved, field: str) -> Resolved:
    """Returns the deployment with all of its scheduler's options; raises InputError for those that it has not or refuses."""
    path = f"{field}.scheduler_options"
    policy = catalog.module("schedulers", resolved.scheduler, f"{field}.scheduler")
    if not hasattr(policy, "Options"):
        if resolved.scheduler_options:
            raise InputError(path, resolved.scheduler_options, f"none: {resolved.scheduler} has no options")
        return resolved
    options = policy.Options.parse(resolved.scheduler_options, path)
    if hasattr(policy, "check"):
        policy.check(options, resolved, path)
    return resolved.model_copy(update={"scheduler_options": options.model_dump(mode="json")})


def _dtype(asked: str, model: Model, field: str) -> str:
    dtype = model.torch_dtype if asked == "auto" else asked
    # Engines turn weights in 32 bits to 16 by rules of their own, and keep them only when they are told so.
    if dtype not in DTYPE_BYTES or (asked == "auto" and dtype == "float32"):
        allowed = f"{', '.join(DTYPE_BYTES)} (auto is the model's torch_dtype, {model.torch_dtype})"
        raise InputError(f"{field}.dtype", asked, allowed)
    return dtype


def _expert_parallel(deployment: Deployment, model: Model, field: str) -> bool:
    """Returns whether experts are kept whole, which on one GPU they are anyway.

    Raises InputError for the knobs of experts on a model that has none, and for an unknown load.
    """
    if deployment.expert_load not in EXPERT_LOADS:
        raise unknown_name(f"{field}.expert_load", deployment.expert_load, EXPERT_LOADS)
    if not model.num_local_experts:
        without = f"for {deployment.model}, which has no experts"
        if deployment.enable_expert_parallel:
            raise InputError(f"{field}.enable_expert_parallel", True, f"false {without}")
        if deployment.expert_load != "balanced":
            raise InputError(f"{field}.expert_load", deployment.expert_load, f"balanced {without}")
    return deployment.enable_expert_parallel and deployment.tensor_parallel_size * deployment.data_parallel_size > 1


def _max_model_len(deployment: Deployment, model: Model, field: str) -> int:
    longest = model.max_position_embeddings
    given = deployment.max_model_len
    if given is not None and given > longest:
        raise InputError(f"{field}.max_model_len", given, f"1 to {longest} (the model's max_position_embeddings)")
    return longest if given is None else given


def _check_vendor(deployment: Deployment, device: Device, engine: EngineProfile, field: str) -> None:
    """Raises InputError, listing the devices, when the profile's rules of memory and launch are not the vendor's."""
    if device.vendor not in engine.vendors:
        known = [name for name in catalog.names("devices") if catalog.device(name).vendor in engine.vendors]
        raise InputError(
            f"{field}.device", deployment.device, f"{', '.join(known)} ({deployment.engine} has no rules for {device.vendor})"
        )


def _check_links(deployment: Deployment, model: Model, device: Device, field: str) -> None:
    """Raises InputError when GPUs that work together have no known link between them.

    The engines of a data-parallel replica exchange tokens when the model has experts, and nothing when it is dense.
    """
    tensor, pipeline = deployment.tensor_parallel_size, deployment.pipeline_parallel_size
    if device.link.bandwidth(tensor) is None:
        allowed = f"1 to {device.link.gpus_per_node} (GPUs of one {deployment.device} node; no link between nodes is known)"
        raise InputError(f"{field}.tensor_parallel_size", tensor, allowed)
    if device.link.bandwidth(tensor * pipeline) is None:
        most = device.link.gpus_per_node // tensor
        allowed = f"1 to {most} (with tensor_parallel_size {tensor} on nodes of {device.link.gpus_per_node} {deployment.device})"
        raise InputError(f"{field}.pipeline_parallel_size", pipeline, allowed)
    if model.num_local_experts and device.link.bandwidth(deployment.gpus_per_replica) is None:
        most = device.link.gpus_per_node // (tensor * pipeline)
        allowed = f"1 to {most} (engines of {tensor * pipeline} GPUs on nodes of {device.link.gpus_per_node} {deployment.device})"
        raise InputError(f"{field}.data_parallel_size", deployment.data_parallel_size, allowed)


def _batch_limits(deployment: Deployment, engine: EngineProfile, device: Device, max_model_len: int, field: str) -> tuple[int, int]:
    """Returns max_num_batched_tokens and max_num_seqs; vLLM clamps its defaults, never what was given."""
    entry = next((e for e in engine.device_defaults if e.applies(deployment.device, device.memory_bytes)), None)
    if entry is None:
        raise InputError(f"{field}.device", deployment.device, f"a device for which {deployment.engine} has batch limits")
    tokens, sequences = deployment.max_num_batched_tokens, deployment.max_num_seqs
    if tokens is None:
        tokens = min(entry.max_num_batched_tokens, (sequences or entry.max_num_seqs) * max_model_len)
    if sequences is None:
        sequences = min(entry.max_num_seqs, tokens)
    if tokens >= sequences:
        return tokens, sequences
    if deployment.max_num_batched_tokens is not None:
        raise InputError(f"{field}.max_num_batched_tokens", tokens, f"at least max_num_seqs ({sequences})")
    raise InputError(f"{field}.max_num_seqs", sequences, f"at most max_num_batched_tokens ({tokens} by default here)")
