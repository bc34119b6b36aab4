"""Memory of one GPU: weights, activations, graphs and what is left for KV blocks, or the reason why it cannot start."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.activations import DTYPE_BYTES, profile_run
from simulator.errors import Infeasible, InputError
from simulator.optime.families import Shard
from simulator.optime.precision import precision_of
from simulator.spec.deployment import Resolved
from simulator.spec.device import Device, Dtype
from simulator.spec.engine import EngineProfile
from simulator.spec.model import Model
from simulator.weights import Stage, kv_layout, kv_token_bytes, padded_vocabulary, shard_bytes


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one GPU of the pipeline stage that has the fewest KV blocks.

    `startup_bytes` (context, communication) and, where the engine does not count them, `graph_bytes` lie outside the
    share that gpu_memory_utilization asks for. `num_blocks` is what vLLM reports as num_gpu_blocks: one of them is a
    placeholder, so requests share `usable_blocks`. `window_bytes` of the KV are set aside for layers with a window, and a
    block is then one of all other layers.
    """

    weights_bytes: int
    activation_bytes: int
    graph_bytes: int
    overhead_bytes: int
    startup_bytes: int
    kv_bytes: int
    block_bytes: int
    num_blocks: int
    window_bytes: int = 0

    @property
    def usable_blocks(self) -> int:
        """The blocks that requests can hold."""
        return self.num_blocks - 1


def plan(deployment: Resolved, model: Model, device: Device, engine: EngineProfile) -> MemoryPlan:
    """Returns the memory of one GPU as vLLM's start-up would find it.

    Raises InputError for a parallelism that the model cannot take, and Infeasible naming the gigabytes that are missing
    for the weights, for max_model_len tokens of KV, for the override's blocks, or for graphs.
    """
    check_parallelism(model, deployment.tensor_parallel_size, deployment.pipeline_parallel_size)
    check_partition(model, deployment.pipeline_parallel_size, deployment.pp_layer_partition)
    offered = device.memory_bytes - engine.memory.driver_bytes
    requested = _requested_bytes(deployment, offered, device, engine)
    plans = [_plan_stage(deployment, model, device, engine, stage, requested, offered) for stage in stages(model, deployment)]
    tightest = min(plans, key=lambda p: (p.num_blocks, -p.weights_bytes))
    # All stages take the tightest one's blocks. Graphs are captured last, when the profile run's activations are gone.
    held = max(
        p.startup_bytes + p.weights_bytes + p.overhead_bytes + p.graph_bytes + tightest.num_blocks * p.block_bytes + p.window_bytes
        for p in plans
    )
    if held > offered:
        raise _missing(deployment, held - offered, "captured graphs do not fit beside weights and KV")
    return tightest


def check_parallelism(model: Model, tensor: int, pipeline: int, field: str = "deployment") -> None:
    """Raises InputError under `field` when the model's heads, widths or layers cannot be split so."""
    if not _splits(model, tensor):
        sizes = [str(size) for size in range(1, model.num_attention_heads + 1) if _splits(model, size)]
        raise InputError(f"{field}.tensor_parallel_size", tensor, ", ".join(sizes))
    if pipeline > model.num_hidden_layers:
        raise InputError(f"{field}.pipeline_parallel_size", pipeline, f"1 to {model.num_hidden_layers} (one layer a stage)")


def check_partition(model: Model, pipeline: int, partition: tuple[int, ...] | None, field: str = "deployment") -> None:
    """Raises InputError under `field` when the layers given for each pipeline stage are not those of the model."""
    if partition is not None and (len(partition) != pipeline or sum(partition) != model.num_hidden_layers):
        allowed = f"layers of {pipeline} stages (pipeline_parallel_size) that add up to {model.num_hidden_layers}"
        raise InputError(f"{field}.pp_layer_partition", list(partition), allowed)


def _splits(model: Model, tensor: int) -> bool:
    heads, kv_heads = model.num_attention_heads, model.num_key_value_heads
    shared = kv_heads % tensor == 0 if kv_heads >= tensor else tensor % kv_heads == 0
    kv = shared or model.kv_lora_rank is not None
    dense = model.dense_layers == 0 or model.intermediate_size % tensor == 0
    widths = dense and padded_vocabulary(model) % tensor == 0
    return heads % tensor == 0 and kv and widths


def layers_of_stages(layers: int, stages: int) -> list[int]:
    """Returns the layers of each stage, as vLLM's get_pp_indices does.

    Those left over go to the stages before the last one, from the back: the last one holds the LM head.
    """
    each = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        each[-place] += 1
    return each


def stages(model: Model, deployment: Resolved) -> list[Stage]:
    """Returns the pipeline stages with their layers: as `pp_layer_partition` says, else as vLLM's get_pp_indices does."""
    layers = layers_of_stages(model.num_hidden_layers, deployment.pipeline_parallel_size)
    if deployment.pp_layer_partition is not None:
        layers = list(deployment.pp_layer_partition)
    count = len(layers)
    return [Stage(n, index == 0, index == count - 1, sum(layers[:index])) for index, n in enumerate(layers)]


def shard_of(deployment: Resolved, model: Model, device: Device, engine: EngineProfile) -> Shard:
    """Returns the part of the model on each GPU, in the data types that the engine has for it on the device."""
    return Shard.of(model, deployment, precision_of(deployment, model, device, engine))


def beside_bytes(model: Model, stage: Stage, tensor: int, dtype: str) -> int:
    """Returns what one GPU loads beside the decoder: its share of encoders, in the first stage, and larger rotary tables."""
    tower = model.tower_parameters // tensor if stage.first else 0
    rows = (model.rotary_rows or model.max_position_embeddings) - model.max_position_embeddings
    return DTYPE_BYTES[dtype] * (tower + rows * model.head_dim)


def weights_bytes(model: Model, stage: Stage, tensor: int, dtype: Dtype) -> int:
    """Returns the bytes of one GPU's weights when nothing is quantised; see `weights.shard_bytes`."""
    return shard_bytes(Shard(model, tensor, dtype), stage)


def block_bytes(model: Model, stage: Stage, tensor: int, block_size: int, dtype: Dtype) -> int:
    """Returns the bytes of one KV block on one GPU: keys and values of block_size tokens in every layer of the stage."""
    return round(stage.layers * block_size * kv_token_bytes(Shard(model, tensor, dtype)))


def activation_bytes(deployment: Resolved, model: Model, device: Device, engine: EngineProfile, stage: Stage) -> int:
    """Returns the peak of the profile run in a stage, beside its weights."""
    vocabulary = padded_vocabulary(model) // deployment.tensor_parallel_size
    return profile_run(deployment, model, device, engine, first=stage.first, last=stage.last, vocabulary=vocabulary).peak


def overhead_bytes(deployment: Resolved, model: Model, device: Device, engine: EngineProfile) -> int:
    """Returns what a worker holds outside PyTorch at the end of the profile run, beyond what it held before it."""
    rule, tensor = engine.memory, deployment.tensor_parallel_size
    held = rule.non_torch_bytes
    # On PCIe, NCCL's buffers lie in the host's memory, and all-reduces are not fused.
    if not 1 < tensor <= device.link.nvlink_island:
        return held
    held += rule.nccl_pair_bytes if tensor == 2 else rule.nccl_group_bytes
    limit = rule.allreduce_fusion_limits.get(device.architecture, {}).get(tensor)
    if limit and deployment.pipeline_parallel_size == deployment.data_parallel_size == 1:
        row = model.hidden_size * DTYPE_BYTES[deployment.dtype]
        tokens = min(limit // row, deployment.max_num_batched_tokens)
        held += rule.allreduce_fusion_copies * tensor * tokens * row
    return held


def graph_bytes(deployment: Resolved, engine: EngineProfile, stage: Stage) -> int:
    """Returns the bytes of the captured graphs; full ones exist up to max_num_seqs, piecewise ones for every size."""
    sizes = engine.graphs.sizes(deployment.max_num_seqs, deployment.max_num_batched_tokens)
    full = sum(size <= deployment.max_num_seqs for size in sizes)
    graphs = {
        "NONE": 0,
        "PIECEWISE": len(sizes),
        "FULL_DECODE_ONLY": full,
        "FULL_AND_PIECEWISE": len(sizes) + full,
        # All are captured before those that do not pay are given up.
        "SELECTIVE": len(sizes) + full,
    }[deployment.cudagraph_mode]
    return graphs * stage.layers * engine.memory.graph_bytes_per_layer


def _startup_bytes(deployment: Resolved, device: Device, engine: EngineProfile) -> int:
    rule, together = engine.memory, deployment.tensor_parallel_size * deployment.pipeline_parallel_size
    if together == 1:
        return rule.context_bytes
    linked = together <= device.link.nvlink_island
    return rule.context_bytes + (rule.nvlink_communication_bytes if linked else rule.communication_bytes)


def _requested_bytes(deployment: Resolved, offered: int, device: Device, engine: EngineProfile) -> int:
    requested = math.ceil(offered * deployment.gpu_memory_utilization)
    lacking = requested + _startup_bytes(deployment, device, engine) - offered
    if lacking > 0:
        share = f"gpu_memory_utilization {deployment.gpu_memory_utilization:g} asks for more than is free at start-up"
        raise _missing(deployment, lacking, share)
    return requested


def _plan_stage(
    deployment: Resolved, model: Model, device: Device, engine: EngineProfile, stage: Stage, requested: int, offered: int
) -> MemoryPlan:
    shard = shard_of(deployment, model, device, engine)
    weights = shard_bytes(shard, stage) + beside_bytes(model, stage, deployment.tensor_parallel_size, deployment.dtype)
    activations = activation_bytes(deployment, model, device, engine, stage)
    graphs = graph_bytes(deployment, engine, stage)
    overhead = overhead_bytes(deployment, model, device, engine)
    left = requested - weights - activations - overhead - (graphs if engine.memory.graphs_in_budget else 0)
    tokens = deployment.max_num_batched_tokens
    kv = kv_layout(shard, stage, deployment.block_size, deployment.max_num_seqs, tokens, left)
    blocks = _blocks(deployment, left - kv.window_bytes, kv.block_bytes, offered - requested)
    startup, cached = _startup_bytes(deployment, device, engine), blocks * kv.block_bytes + kv.window_bytes
    return MemoryPlan(weights, activations, graphs, overhead, startup, cached, kv.block_bytes, blocks, kv.window_bytes)


def _blocks(deployment: Resolved, left: int, block: int, unrequested: int) -> int:
    """Returns the blocks in `left` bytes, the placeholder counted; an override may use the `unrequested` bytes too."""
    if left < block:
        raise _missing(deployment, block - left, "weights, activations and overhead leave no room for KV")
    if deployment.num_gpu_blocks_override is not None:
        blocks = deployment.num_gpu_blocks_override + 1
        if blocks * block > left + unrequested:
            raise _missing(deployment, blocks * block - left - unrequested, f"num_gpu_blocks_override {blocks - 1} does not fit")
        return blocks
    needed = math.ceil(deployment.max_model_len / deployment.block_size)
    if needed * block > left:
        fit = left // block * deployment.block_size
        reason = f"max_model_len {deployment.max_model_len} does not fit, {fit} tokens of KV do"
        raise _missing(deployment, needed * block - left, reason)
    return left // block


def _missing(deployment: Resolved, lacking: int, reason: str) -> Infeasible:
    parallel = f"tensor_parallel_size {deployment.tensor_parallel_size}"
    if deployment.pipeline_parallel_size > 1:
        parallel += f", pipeline_parallel_size {deployment.pipeline_parallel_size}"
    # Rounded up, so that a shortage of a few bytes does not read as none.
    gigabytes = math.ceil(lacking / 1e7) / 100
    return Infeasible(f"{deployment.model} on {deployment.device} ({parallel}): {reason}; {gigabytes:.2f} GB missing on each GPU")
