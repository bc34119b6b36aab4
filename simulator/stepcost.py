"""Step cost: a Deployment and operator times, turned into the price list that the kernel only indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from simulator import catalog, featuretimes
from simulator.kernel.pricelist import DECODE_ONLY, MIXED, PREFILL_ONLY, PriceList
from simulator.memory import shard_of, stages
from simulator.optime.chain import Chain, Through, open_sources
from simulator.optime.families import Shard
from simulator.optime.graphs import eager_launch_s, host_times
from simulator.optime.iteration import Iteration
from simulator.optime.knots import knots_of
from simulator.optime.operators import Floats
from simulator.optime.provenance import Provenance
from simulator.optime.sources import AttentionRules, Context, IterationSource, Knots
from simulator.spec.deployment import Resolved
from simulator.spec.device import Device
from simulator.spec.engine import EngineProfile
from simulator.spec.model import Model
from simulator.weights import Stage, kv_token_bytes, shard_bytes

Profiles = Sequence[Mapping[str, object]] | None
# Under a policy without a token budget a step may hold a whole prompt in every slot: operators are priced up to here.
MOST_TOKENS_WITHOUT_BUDGET = 2**18


def price_list(deployment: Resolved, profiles: Profiles = None, through: Through | None = None) -> tuple[PriceList, Provenance]:
    """Returns what every iteration of one engine costs, and where each operator's time comes from.

    Operators' times pass `through`, those of a source of whole iterations do not. Raises InputError for an unknown name, a
    wrong setting of `profiles` or a parallelism that cannot be priced.
    """
    return price_list_of(
        deployment,
        catalog.model(deployment.model, "deployment.model"),
        catalog.device(deployment.device, "deployment.device"),
        catalog.engine(deployment.engine, "deployment.engine"),
        profiles,
        through,
    )


def price_list_of(
    deployment: Resolved,
    model: Model,
    device: Device,
    engine: EngineProfile,
    profiles: Profiles = None,
    through: Through | None = None,
) -> tuple[PriceList, Provenance]:
    """Returns the same for a model, a device and an engine that need not be in the catalog."""
    context = Context(deployment, model, device, engine)
    opened = open_sources(profiles, context, through)
    if isinstance(opened, Chain):
        return _from_operators(context, engine, opened)
    return _from_iterations(context, engine, *opened)


def most_step_tokens(deployment: Resolved) -> int:
    """Returns the tokens of the largest step that the policy may decide, as far as they are priced."""
    policy = catalog.module("schedulers", deployment.scheduler, "deployment.scheduler")
    if policy.CHUNKS or not policy.RESERVES:
        return max(deployment.max_num_batched_tokens, deployment.max_num_seqs)
    return min(deployment.max_num_seqs * deployment.max_model_len, MOST_TOKENS_WITHOUT_BUDGET)


@dataclass(frozen=True, eq=False)
class Parts:
    """The tables of a price list: seconds of all layers, of each stage beside them, and of the host."""

    token_s: Floats
    sample_s: Floats
    decode_s: Floats
    prefill_s: Floats
    stage_token_s: Floats
    floor_s: Floats
    extra_s: Floats
    mixed_decode_s: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    mixed_pair_s: float = 0.0
    fused: float = 0.0


def _from_iterations(context: Context, engine: EngineProfile, name: str, source: IterationSource) -> tuple[PriceList, Provenance]:
    deployment, knots, most = context.deployment, source.knots(context), source.most_tokens()
    last = most_step_tokens(deployment)
    tokens = np.arange((last if most is None else min(last, most)) + 1)
    sends = np.zeros((deployment.pipeline_parallel_size, len(tokens)))
    sends[:-1] = source.send_seconds(tokens)
    parts = Parts(
        token_s=source.token_seconds(tokens),
        sample_s=source.sample_seconds(np.arange(deployment.max_num_seqs + 1)),
        decode_s=source.decode_seconds(knots.decode_batch, knots.decode_kv),
        prefill_s=source.prefill_seconds(knots.prefill_chunk, knots.prefill_kv),
        stage_token_s=sends,
        floor_s=np.zeros(3),
        extra_s=np.zeros(3),
    )
    return _assembled(context, engine, knots, parts, source.rules()), Provenance(operators=source.origins(name))


def _from_operators(context: Context, engine: EngineProfile, chain: Chain) -> tuple[PriceList, Provenance]:
    deployment = context.deployment
    shard = shard_of(deployment, context.model, context.device, engine)
    family = catalog.module("families", context.model.family, "deployment.model.family")
    family.check(shard)
    last = most_step_tokens(deployment)
    knots = knots_of(deployment, last)
    sizes = np.array(engine.graphs.sizes(deployment.max_num_seqs, deployment.max_num_batched_tokens), dtype=np.int64)
    iteration = Iteration(family, shard, chain, eager_launch_s(context.model, engine))
    prefill_s = featuretimes.without_pages(deployment, context.device.architecture, knots, iteration.prefill_seconds(knots))
    # One kernel serves all chunks of an iteration, so that what even the least chunk costs is paid once.
    per_call_s = float(prefill_s.min())
    token_s, stage_token_s = iteration.token_seconds(deployment, sizes, last)
    token_s[[PREFILL_ONLY, MIXED], 1:] += per_call_s
    decode_s = iteration.decode_seconds(knots)
    mixed_decode_s, mixed_pair_s = decode_s, 0.0
    if deployment.attention_backend == "auto":
        mixed_decode_s, mixed_pair_s = iteration.mixed_decode_seconds(knots, decode_s, context.device, last)
    decode_s, mixed_decode_s = _with_verification(deployment, iteration, knots, token_s, decode_s, mixed_decode_s)
    host = host_times(deployment, context.model, engine)
    parts = Parts(
        token_s=token_s,
        sample_s=iteration.sample_seconds(deployment.max_num_seqs) + host.sequences_s(deployment.max_num_seqs),
        decode_s=decode_s,
        mixed_decode_s=mixed_decode_s,
        mixed_pair_s=mixed_pair_s,
        fused=featuretimes.overlap(deployment),
        prefill_s=prefill_s - per_call_s,
        stage_token_s=stage_token_s,
        floor_s=np.array(host.floor_s),
        extra_s=np.array(host.extra_s),
    )
    return _assembled(context, engine, knots, parts), Provenance(
        operators={**chain.origins, **host.origins, **featuretimes.origins(deployment)}
    )


def _with_verification(
    deployment: Resolved, iteration: Iteration, knots: Knots, token_s: Floats, decode_s: Floats, mixed_decode_s: Floats
) -> tuple[Floats, Floats]:
    """Returns what decodes cost, alone and beside a chunk, with the passes that verify them."""
    if deployment.determinism != "verified":
        return decode_s, mixed_decode_s
    pass_s = iteration.pass_seconds(deployment)
    # What a step of decodes takes beside their attention, by batch.
    step_s = token_s[DECODE_ONLY, np.minimum(knots.decode_batch, token_s.shape[1] - 1)][:, None]
    alone, beside = (featuretimes.verified(deployment, knots, each, step_s, pass_s) for each in (decode_s, mixed_decode_s))
    return alone, beside


def _assembled(
    context: Context, engine: EngineProfile, knots: Knots, parts: Parts, rules: AttentionRules | None = None
) -> PriceList:
    """Returns the list, with what one engine's GPUs can do and what an iteration asks of them, for utilisation."""
    deployment, model, device = context.deployment, context.model, context.device
    rules = rules or AttentionRules()
    tensor, shard = deployment.tensor_parallel_size, shard_of(deployment, model, device, engine)
    split = stages(model, deployment)
    gpus = tensor * deployment.pipeline_parallel_size
    peak = device.peak_flops_per_s.get(shard.precision.linear.compute)
    return PriceList(
        token_s=np.ascontiguousarray(parts.token_s, dtype=np.float64),
        sample_s=np.ascontiguousarray(parts.sample_s, dtype=np.float64),
        decode_batch=knots.decode_batch.astype(np.int64),
        decode_kv=knots.decode_kv.astype(np.int64),
        decode_s=np.ascontiguousarray(parts.decode_s, dtype=np.float64),
        prefill_chunk=knots.prefill_chunk.astype(np.int64),
        prefill_kv=knots.prefill_kv.astype(np.int64),
        prefill_s=np.ascontiguousarray(parts.prefill_s, dtype=np.float64),
        floor_s=parts.floor_s,
        extra_s=parts.extra_s,
        flops_per_token=float(model.flops_per_token()),
        peak_flops_per_s=None if peak is None else peak * gpus,
        stage_share=np.array([stage.layers for stage in split]) / model.num_hidden_layers,
        stage_token_s=np.ascontiguousarray(parts.stage_token_s, dtype=np.float64),
        mixed_decode_s=np.ascontiguousarray(parts.mixed_decode_s, dtype=np.float64),
        mixed_pair_s=parts.mixed_pair_s,
        fused=parts.fused,
        kv_quantum=rules.kv_quantum,
        merged_prefill=rules.merged_prefill,
        prefill_factor=rules.prefill_factor,
        weight_bytes=float(sum(tensor * _read_bytes(shard, stage) for stage in split)),
        kv_bytes_per_token=float(sum(tensor * _kv_bytes(shard, stage) for stage in split)),
        peak_bytes_per_s=device.memory_bandwidth_bytes_per_s * gpus,
    )


def _read_bytes(shard: Shard, stage: Stage) -> int:
    """Returns the weights that a GPU reads in an iteration: of the embedding it reads a row a token, which is not counted.

    Every expert is counted, as if the tokens of the iteration went to all of them.
    """
    return shard_bytes(shard, Stage(stage.layers, first=False, last=stage.last, start=stage.start))


def _kv_bytes(shard: Shard, stage: Stage) -> float:
    """Returns the KV that a GPU reads for every token of context; layers with a window count where all layers have one."""
    layers = stage.layers - stage.sliding_layers(shard.model)
    return (layers or stage.layers) * kv_token_bytes(shard)
