"""Step cost: a Deployment and operator times, turned into the price list that the kernel only indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from simulator import catalog
from simulator.errors import InputError
from simulator.kernel.pricelist import KV_STEP, MIXED, PREFILL_ONLY, PriceList
from simulator.optime.chain import Chain, open_sources
from simulator.optime.families import Shard
from simulator.optime.graphs import LAUNCHES, host_times, padded
from simulator.optime.operators import Floats, Ints
from simulator.optime.provenance import Provenance
from simulator.optime.sources import Context, IterationSource, Knots
from simulator.spec.deployment import Resolved
from simulator.spec.device import Device
from simulator.spec.engine import EngineProfile
from simulator.spec.model import Model

Profiles = Sequence[Mapping[str, object]] | None
# Time over the length of a chunk is quadratic: eight knots from one power of two to the next keep the error of a line
# between two of them under 0.4 %.
STEPS_PER_OCTAVE = 8
DENSE_TOKENS = 64


def price_list(deployment: Resolved, profiles: Profiles = None) -> tuple[PriceList, Provenance]:
    """Returns what every iteration of one replica costs, and where each operator's time comes from.

    Raises InputError for an unknown name, a wrong setting of `profiles` or a parallelism that cannot be priced.
    """
    return price_list_of(
        deployment,
        catalog.model(deployment.model, "deployment.model"),
        catalog.device(deployment.device, "deployment.device"),
        catalog.engine(deployment.engine, "deployment.engine"),
        profiles,
    )


def price_list_of(
    deployment: Resolved, model: Model, device: Device, engine: EngineProfile, profiles: Profiles = None
) -> tuple[PriceList, Provenance]:
    """Returns the same for a model, a device and an engine that need not be in the catalog."""
    if deployment.pipeline_parallel_size > 1:
        raise InputError("deployment.pipeline_parallel_size", deployment.pipeline_parallel_size, "1, as yet")
    context = Context(deployment, model, device)
    opened = open_sources(profiles, context)
    if isinstance(opened, Chain):
        return _from_operators(context, engine, opened)
    return _from_iterations(context, *opened)


def _from_iterations(context: Context, name: str, source: IterationSource) -> tuple[PriceList, Provenance]:
    deployment, knots = context.deployment, source.knots(context)
    tokens, sampled = np.arange(deployment.max_num_batched_tokens + 1), np.arange(deployment.max_num_seqs + 1)
    nothing = np.zeros(3)
    prices = _assembled(
        context,
        knots,
        token_s=source.token_seconds(tokens),
        sample_s=source.sample_seconds(sampled),
        decode_s=source.decode_seconds(knots.decode_batch, knots.decode_kv),
        prefill_s=source.prefill_seconds(knots.prefill_chunk, knots.prefill_kv),
        host=(nothing, nothing),
    )
    return prices, Provenance(operators={"iteration": source.origin(name)})


def _from_operators(context: Context, engine: EngineProfile, chain: Chain) -> tuple[PriceList, Provenance]:
    deployment = context.deployment
    shard = Shard.of(context.model, deployment)
    family = catalog.module("families", context.model.family, "deployment.model.family")
    family.check(shard)
    knots = _knots(deployment)
    sizes = np.array(engine.graphs.sizes(deployment.max_num_seqs, deployment.max_num_batched_tokens), dtype=np.int64)
    prefill_s = _prefill(family, shard, chain, knots)
    # One kernel serves all chunks of an iteration, so that what even the least chunk costs is paid once.
    per_call_s = float(prefill_s.min())
    token_s = _tokens(family, shard, chain, deployment, sizes)
    token_s[[PREFILL_ONLY, MIXED], 1:] += per_call_s
    host = host_times(deployment, context.model, engine)
    prices = _assembled(
        context,
        knots,
        token_s=token_s,
        sample_s=_samples(family, shard, chain, deployment.max_num_seqs),
        decode_s=_decode(family, shard, chain, knots),
        prefill_s=prefill_s - per_call_s,
        host=(np.array(host.floor_s), np.array(host.extra_s)),
    )
    return prices, Provenance(operators={**chain.origins, **host.origins})


def _assembled(
    context: Context,
    knots: Knots,
    *,
    token_s: Floats,
    sample_s: Floats,
    decode_s: Floats,
    prefill_s: Floats,
    host: tuple[Floats, Floats],
) -> PriceList:
    """Returns the list, with the layers' FLOPs a token and the peak rate of the replica's GPUs for utilisation."""
    peak = context.device.peak_flops_per_s.get(context.deployment.dtype)
    return PriceList(
        token_s=np.ascontiguousarray(token_s, dtype=np.float64),
        sample_s=np.ascontiguousarray(sample_s, dtype=np.float64),
        decode_batch=knots.decode_batch.astype(np.int64),
        decode_kv=knots.decode_kv.astype(np.int64),
        decode_s=np.ascontiguousarray(decode_s, dtype=np.float64),
        prefill_chunk=knots.prefill_chunk.astype(np.int64),
        prefill_kv=knots.prefill_kv.astype(np.int64),
        prefill_s=np.ascontiguousarray(prefill_s, dtype=np.float64),
        floor_s=host[0],
        extra_s=host[1],
        flops_per_token=float(context.model.num_hidden_layers * context.model.layer_flops_per_token()),
        peak_flops_per_s=None if peak is None else peak * context.deployment.gpus_per_replica,
    )


# The four parts


def _tokens(family: ModuleType, shard: Shard, chain: Chain, deployment: Resolved, sizes: Ints) -> Floats:
    """Returns token_s[3, T + 1]: operators at the scheduled tokens, or at the captured size where a graph is replayed."""
    last = deployment.max_num_batched_tokens
    every = np.arange(last + 1)
    at = _union(last, chain.token_knots(), sizes, _octaves(1, last))
    launches = LAUNCHES[deployment.cudagraph_mode]

    def curve(captured: bool) -> Floats:
        total = sum(chain.seconds(family.token_operators(shard, at, captured)).values(), np.zeros(at.shape))
        return np.concatenate([[0.0], np.interp(every[1:], at, total)])

    eager = curve(captured=False)
    graph_s = eager
    if len(sizes) and set(launches) != {"eager"}:
        graph_s = np.where(every <= sizes[-1], curve(captured=True)[padded(every, sizes)], eager)
        graph_s[0] = 0.0
    return np.stack([eager if launch == "eager" else graph_s for launch in launches])


def _samples(family: ModuleType, shard: Shard, chain: Chain, last: int) -> Floats:
    """Returns sample_s[S + 1]: the LM head and the sampler are not padded, since no graph holds them."""
    at = _union(last, chain.token_knots(), _octaves(1, last))
    total = sum(chain.seconds(family.sampled_operators(shard, at)).values(), np.zeros(at.shape))
    return np.concatenate([[0.0], np.interp(np.arange(1, last + 1), at, total)])


def _decode(family: ModuleType, shard: Shard, chain: Chain, knots: Knots) -> Floats:
    """Returns decode_s[b, k]; no KV is priced as one token, at most as much as the first knot above."""
    batch, kv = np.meshgrid(knots.decode_batch, np.maximum(knots.decode_kv, 1), indexing="ij")
    operators = family.decode_operators(shard, batch.ravel(), kv.ravel().astype(np.float64))
    seconds = sum(chain.seconds(operators).values(), np.zeros(batch.size)).reshape(batch.shape)
    seconds[:, 0] = np.minimum(seconds[:, 0], seconds[:, 1])
    return seconds


def _prefill(family: ModuleType, shard: Shard, chain: Chain, knots: Knots) -> Floats:
    """Returns seconds[c, k] of the attention of one chunk that is alone in its iteration."""
    chunk, kv = np.meshgrid(knots.prefill_chunk, knots.prefill_kv, indexing="ij")
    operators = family.prefill_operators(shard, chunk.ravel(), kv.ravel())
    return sum(chain.seconds(operators).values(), np.zeros(chunk.size)).reshape(chunk.shape)


# Knots


def _knots(deployment: Resolved) -> Knots:
    last_kv = -(-deployment.max_model_len // KV_STEP) * KV_STEP
    sequences, tokens = max(2, deployment.max_num_seqs), max(2, deployment.max_num_batched_tokens)
    kv_steps = np.append(0, _union(last_kv // KV_STEP, _octaves(1, last_kv // KV_STEP, 2)) * KV_STEP)
    return Knots(
        decode_batch=_union(sequences, _octaves(1, sequences, 1)),
        decode_kv=np.append(0, _union(last_kv // KV_STEP, _octaves(1, last_kv // KV_STEP, 1)) * KV_STEP),
        prefill_chunk=_union(tokens, np.array([1, 16, 32]), _octaves(DENSE_TOKENS, tokens)),
        prefill_kv=kv_steps,
    )


def _octaves(first: int, last: int, steps: int = STEPS_PER_OCTAVE) -> Ints:
    """Returns whole numbers from `first` to `last`, as many from each power of two to the next."""
    exponents = np.arange(np.log2(first), np.log2(max(last, first)) + 1)
    lows = np.exp2(exponents)
    return np.unique((lows[:, None] * (1 + np.arange(steps) / steps)).astype(np.int64))


def _union(last: int, *points: Ints) -> Ints:
    """Returns the points from 1 to `last`, ascending, with both ends among them."""
    every = np.unique(np.concatenate([np.array([1, last]), *points]))
    return every[(every >= 1) & (every <= last)].astype(np.int64)
