"""From settings to an engine: weights on the device, KV blocks for what memory is left, a driver and a runner."""

from __future__ import annotations

from pathlib import Path

import torch

from profiler.engine import architecture, verification, weights
from profiler.engine.architecture import Architecture
from profiler.engine.attention import backend
from profiler.engine.driver import Driver
from profiler.engine.engine import Engine
from profiler.engine.failure import free_bytes, is_out_of_memory
from profiler.engine.graphs import graphs
from profiler.engine.kv import allocator
from profiler.engine.model import Model
from profiler.engine.parallel import ALONE, Group
from profiler.engine.pipeline import PipelinedRunner
from profiler.engine.runner import Runner
from profiler.engine.settings import Settings
from profiler.engine.verification import Verifier
from simulator.errors import Infeasible, InputError, unknown_name
from simulator.kernel.limits import Limits

# What KV may take of a host's memory where nothing else is said.
HOST_KV_BYTES = 2 << 30


def from_checkpoint(folder: Path, settings: Settings, group: Group = ALONE, *, record: bool = False) -> Engine:
    """Returns an engine with the weights of a folder in Hugging Face's layout."""
    arch = architecture.read(folder)
    model = _model(arch, settings, group)
    weights.load(model, folder)
    return assemble(model, settings, record=record)


def with_random_weights(arch: Architecture, settings: Settings, group: Group = ALONE, *, record: bool = False) -> Engine:
    """Returns an engine whose weights are drawn from the settings' seed."""
    model = _model(arch, settings, group)
    weights.randomize(model, settings.seed)
    return assemble(model, settings, record=record)


def assemble(model: Model, settings: Settings, *, record: bool = False) -> Engine:
    """Returns the engine of a model; raises InputError for settings that do not go together, Infeasible without room for KV."""
    arch = model.arch
    longest = settings.max_model_len or arch.max_position_embeddings
    if longest > arch.max_position_embeddings:
        raise InputError("max_model_len", longest, f"up to max_position_embeddings ({arch.max_position_embeddings})")
    keeper, launched = allocator(settings.kv_allocator), graphs(settings.graphs)
    blocks = settings.num_gpu_blocks_override or model.group.least(_blocks_in_memory(model, settings, longest))
    limits = settings.limits(longest, blocks)
    keeper.check(limits)
    if settings.determinism == "verified":
        verification.check(limits, arch)
    driver = Driver(limits, settings.policy())
    kind = PipelinedRunner if model.group.stages > 1 else Runner
    try:
        pool = keeper.reserve(model, (keeper.total(limits) + 1) * limits.block_size)
        runner = kind(model, launched, pool, limits.block_size, settings.graph_memory_bytes)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _no_room(model, settings, limits, keeper.total(limits)) from None
    verifier = Verifier(runner, driver, settings.verification_window) if settings.determinism == "verified" else None
    return Engine(driver, runner, keeper, arch.eos_token_ids, verifier=verifier, record=record)


def _no_room(model: Model, settings: Settings, limits: Limits, blocks: int) -> InputError:
    """Returns what is told when the KV pool does not fit: what would."""
    each, free = model.block_bytes(settings.block_size), free_bytes(model.device)
    fits = f"up to {free // each:,} KV blocks of {each:,} bytes, for the {free:,} that are free on {model.device}"
    if blocks > limits.kv_blocks:
        allowed = f"fewer, or a smaller max_model_len: {blocks:,} KV blocks fail that {settings.kv_allocator} KV takes; {fits}"
        return InputError("max_num_seqs", limits.max_num_seqs, allowed)
    if settings.num_gpu_blocks_override is None:
        return InputError("gpu_memory_utilization", settings.gpu_memory_utilization, f"less: {blocks:,} KV blocks fail; {fits}")
    return InputError("num_gpu_blocks_override", settings.num_gpu_blocks_override, fits)


def device_of(name: str, number: int | None = None, field: str = "device") -> torch.device:
    """Returns the device called `name`, by default CUDA where there is one, of several the one with that number.

    Raises InputError for one that is not there.
    """
    there = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    kind = there[-1] if name == "auto" else name
    if kind not in there:
        raise unknown_name(field, name, ("auto", *there))
    if kind == "cpu" or number is None:
        return torch.device(kind)
    if number >= torch.cuda.device_count():
        raise InputError(
            "tensor_parallel_size x pipeline_parallel_size",
            number + 1,
            f"up to the {torch.cuda.device_count()} devices that are there",
        )
    return torch.device(kind, number)


def _model(arch: Architecture, settings: Settings, group: Group) -> Model:
    """Returns the model with weights that are still to be filled; raises Infeasible when they do not fit."""
    group.check(arch)
    if group.processes > 1 and settings.graphs != "off":
        raise InputError("graphs", settings.graphs, "off for engines of more than one process")
    dtype = getattr(torch, arch.dtype if settings.dtype == "auto" else settings.dtype)
    device = device_of(settings.device, group.number if group.processes > 1 else None)
    try:
        return weights.build(arch, backend(settings.attention_backend), device, dtype, group, settings.pp_layer_partition)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise Infeasible(f"the weights do not fit: {free_bytes(device):,} bytes are free on {device}") from None


def _blocks_in_memory(model: Model, settings: Settings, longest: int) -> int:
    """Returns the KV blocks that fit, at most as many as all seats can fill."""
    most = settings.max_num_seqs * -(-longest // settings.block_size)
    block_bytes = model.block_bytes(settings.block_size)
    budget = HOST_KV_BYTES
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        # What a step needs beside weights and KV: some tensors as wide as the MLP and the logits.
        arch, rows = model.arch, min(settings.max_num_batched_tokens, settings.max_num_seqs)
        wide = settings.max_num_batched_tokens * (4 * arch.intermediate_size + 8 * arch.hidden_size) * model.dtype.itemsize
        budget = int(free - (1 - settings.gpu_memory_utilization) * total - wide - 24 * rows * arch.vocab_size)
    blocks = min(most, budget // block_bytes)
    if blocks < 1:
        raise Infeasible(f"no memory is left for KV: a block of {settings.block_size} tokens takes {block_bytes:,} bytes")
    return blocks
