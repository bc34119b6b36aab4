"""Our own engine: `trimtab engine serve`, with its knobs as `--set KNOB=VALUE`. It runs the scheduler of any engine profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.launch._knobs import Knob, Only, read, rendered
from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

PROFILE = None
HEAD = ("trimtab", "engine", "serve")
# Knobs that the engine calls as the deployment does.
SAME = (
    *("scheduler", "scheduler_options", "dtype", "tensor_parallel_size", "max_num_batched_tokens", "max_num_seqs", "block_size"),
    *("max_model_len", "gpu_memory_utilization", "num_gpu_blocks_override", "enable_prefix_caching", "async_scheduling"),
    *("scheduling_policy", "long_prefill_token_threshold", "scheduler_reserve_full_isl", "kv_allocator", "determinism"),
)
REFUSED: Mapping[str, Knob] = {
    "quantization": Only("none", "this engine computes with weights in 16 or 32 bits"),
    "kv_cache_dtype": Only("auto", "this engine keeps KV in the dtype of its weights"),
    "enable_expert_parallel": Only(False, "this engine splits every expert"),
    "pipeline_parallel_size": Only(1, "this engine has no pipelines"),
    "pp_layer_partition": Only(None, "this engine has no pipelines"),
    "data_parallel_size": Only(1, "several of these engines are several commands"),
    "attention_backend": Only("auto", "this engine has a kernel for each part, torch's"),
}
GRAPHS = {"NONE": "off", "FULL_DECODE_ONLY": "decode_only", "SELECTIVE": "selective"}


def arguments(
    deployment: Resolved,
    model: str,
    port: int,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    more: Sequence[str] = (),
) -> tuple[str, ...]:
    """Returns the command that serves a replica of the deployment; a model that is no folder is served with random weights."""
    rendered(REFUSED, deployment)
    on_cpu = catalog.device(deployment.device).vendor == "cpu"
    modes = ("NONE",) if on_cpu else tuple(GRAPHS)
    if deployment.cudagraph_mode not in modes:
        raise InputError("cudagraph_mode", deployment.cudagraph_mode, f"{', '.join(modes)} (on {deployment.device})")
    if deployment.verification_sequences not in (None, 1):
        raise InputError(
            "verification_sequences", deployment.verification_sequences, "1 (this engine verifies one request at a time)"
        )
    knobs = {knob: getattr(deployment, knob) for knob in SAME}
    if deployment.verification_window is not None:
        knobs["verification_window"] = deployment.verification_window
    knobs |= {"graphs": GRAPHS[deployment.cudagraph_mode], "device": "cpu" if on_cpu else "cuda"}
    return (
        *(*HEAD, "--model-path" if Path(model).is_dir() else "--random", model),
        *("--served-model-name", name or deployment.model, "--host", host, "--port", str(port)),
        *(part for knob, value in knobs.items() for part in ("--set", f"{knob}={_text(value)}")),
        *more,
    )


def _text(value: object) -> str:
    """Returns a value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**9).strip()[1:-1]


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the knobs that a command line of `trimtab engine serve` states."""
    line = read(arguments)
    if line.words != HEAD:
        raise InputError("command", " ".join(arguments), f"{' '.join(HEAD)} --set KNOB=VALUE ...")
    told = {knob: yaml.safe_load(text) for knob, _, text in (part.partition("=") for part in line.flags.get("--set", ()))}
    found = {knob: told[knob] for knob in SAME if knob in told}
    found["verification_window"] = told.get("verification_window")
    found["verification_sequences"] = None if found["verification_window"] is None else 1
    modes = {graphs: mode for mode, graphs in GRAPHS.items()}
    found["cudagraph_mode"] = modes[told.get("graphs", "off")]
    return {**found, **{knob: only.value for knob, only in REFUSED.items() if isinstance(only, Only)}}
