"""SGLang 0.5: `python3 -m sglang.launch_server`. Names as in its page "Server Arguments" and python/sglang/srt/server_args.py
of 0.5.10.post1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.launch._knobs import Knob, Line, Only, Switch, Value, check_profile, quantization, read, rendered, stated
from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

PROFILE = "sglang-0.5"
PARTITION = "SGLANG_PP_LAYER_PARTITION"
ONLINE = ("fp8",)
HEAD = ("python3", "-m", "sglang.launch_server")
# Lower values go first, as in the simulator, and nobody who runs makes room for who waits.
BY_PRIORITY = ("--enable-priority-scheduling", "--schedule-low-priority-values-first")
# By default SGLang also captures prompts in pieces, which is not what is simulated.
NO_PIECES = "--disable-piecewise-cuda-graph"
NO_PREEMPTION = ("--priority-scheduling-preemption-threshold", str(2**31 - 1))

KNOBS: Mapping[str, Knob] = {
    "engine": Only(PROFILE, "the version that this is written for"),
    "scheduler": Only("sglang", "SGLang has no other"),
    "attention_backend": Only("auto", "SGLang chooses by itself"),
    "kv_allocator": Only("paged", "SGLang has no other"),
    "determinism": Only("none", "SGLang verifies no tokens"),
    "verification_window": Only(None, "SGLang verifies no tokens"),
    "verification_sequences": Only(None, "SGLang verifies no tokens"),
    "dtype": Value("--dtype", str),
    "kv_cache_dtype": Value("--kv-cache-dtype", str, words={"auto": "auto", "fp8": "fp8_e4m3"}),
    "tensor_parallel_size": Value("--tp-size", int),
    "pipeline_parallel_size": Value("--pp-size", int),
    "data_parallel_size": Value("--dp-size", int),
    "max_num_batched_tokens": Value("--chunked-prefill-size", int),
    "max_num_seqs": Value("--max-running-requests", int),
    "block_size": Value("--page-size", int),
    "max_model_len": Value("--context-length", int),
    "gpu_memory_utilization": Value("--mem-fraction-static", float),
    "enable_prefix_caching": Switch(None, "--disable-radix-cache"),
    "async_scheduling": Switch(None, "--disable-overlap-schedule"),
    "long_prefill_token_threshold": Only(0, "SGLang has no such limit"),
    "scheduler_reserve_full_isl": Only(True, "SGLang has no such switch"),
}
OPTIONS: Mapping[str, Knob] = {
    "enable_mixed_chunk": Switch("--enable-mixed-chunk", None),
    "schedule_conservativeness": Value("--schedule-conservativeness", float),
    "max_prefill_tokens": Value("--max-prefill-tokens", int),
    "max_new_tokens": Only(0, "clients say it with each request"),
}


def arguments(
    deployment: Resolved,
    model: str,
    port: int,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    more: Sequence[str] = (),
) -> tuple[str, ...]:
    """Returns the command that serves a replica of the deployment."""
    check_profile(deployment, PROFILE)
    _check_together(deployment)
    partition = deployment.pp_layer_partition
    return (
        *(() if partition is None else ("env", f"{PARTITION}={','.join(map(str, partition))}")),
        *(*HEAD, "--model-path", model, "--served-model-name", name or deployment.model, "--host", host, "--port", str(port)),
        *rendered(KNOBS, deployment),
        *_special(deployment),
        *more,
    )


def _check_together(deployment: Resolved) -> None:
    """Raises InputError for what SGLang would change by itself."""
    experts = catalog.model(deployment.model).num_local_experts
    if deployment.data_parallel_size > 1 and experts:
        allowed = f"1 for {deployment.model}, which has experts (SGLang divides its limits among such ranks)"
        raise InputError("data_parallel_size", deployment.data_parallel_size, allowed)
    if deployment.pipeline_parallel_size > 1 and deployment.async_scheduling:
        raise InputError("async_scheduling", True, "false with pipeline_parallel_size above 1")


def _special(deployment: Resolved) -> tuple[str, ...]:
    """Returns what several flags say, or a flag in another unit."""
    options = deployment.scheduler_options
    blocks, loaded = deployment.num_gpu_blocks_override, quantization(deployment, ONLINE)
    if deployment.cudagraph_mode not in ("FULL_DECODE_ONLY", "NONE"):
        raise InputError("cudagraph_mode", deployment.cudagraph_mode, "FULL_DECODE_ONLY, NONE")
    for unknown in options.keys() - OPTIONS.keys():
        raise InputError(f"scheduler_options.{unknown}", options[unknown], f"no such option; there are {', '.join(OPTIONS)}")
    return (
        *("--ep-size", str(deployment.tensor_parallel_size if deployment.enable_expert_parallel else 1)),
        *(() if blocks is None else ("--max-total-tokens", str(blocks * deployment.block_size))),
        *(() if loaded is None else ("--quantization", loaded)),
        *(("--disable-cuda-graph",) if deployment.cudagraph_mode == "NONE" else ()),
        NO_PIECES,
        *("--schedule-policy", "fcfs"),
        *((*BY_PRIORITY, *NO_PREEMPTION) if deployment.scheduling_policy == "priority" else ()),
        *(
            part
            for key, knob in OPTIONS.items()
            if key in options
            for part in knob.render(f"scheduler_options.{key}", options[key])
        ),
    )


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the knobs that a command line of `sglang.launch_server` states."""
    line = read(arguments)
    if line.words != HEAD:
        raise InputError("command", " ".join(arguments), f"{' '.join(HEAD)} --FLAG ...")
    found = stated(KNOBS, line)
    return {**found, **_specially_stated(line, found["block_size"])}


def _specially_stated(line: Line, block_size: int) -> dict[str, Any]:
    tokens = Value("--max-total-tokens", int).stated(line)
    found: dict[str, Any] = {
        "pp_layer_partition": None,
        "enable_expert_parallel": Value("--ep-size", int).stated(line) != (1,),
        "num_gpu_blocks_override": tokens[0] // block_size if tokens else None,
        "cudagraph_mode": _graphs(line),
        "scheduling_policy": "priority" if BY_PRIORITY[0] in line.flags else "fcfs",
        "scheduler_options": stated(OPTIONS, line),
    }
    if PARTITION in line.environment:
        found["pp_layer_partition"] = tuple(int(layers) for layers in line.environment[PARTITION].split(","))
    for method in line.flags.get("--quantization", ()):
        found["quantization"] = method
    return found


def _graphs(line: Line) -> str:
    pieces = NO_PIECES not in line.flags
    if "--disable-cuda-graph" in line.flags:
        return "PIECEWISE" if pieces else "NONE"
    return "FULL_AND_PIECEWISE" if pieces else "FULL_DECODE_ONLY"
