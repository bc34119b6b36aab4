"""MLA: multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1) with dense MLPs or experts; DeepSeek-V3, Kimi K2.

The kernels are those of vLLM 0.19 (layers/mla.py, layers/attention/mla_attention.py): the first projections of queries and
of KV are one GEMM that every GPU runs whole; heads are shared by the GPUs. A chunk expands the latents of all of its context
to keys and values; decodes attend to the latents themselves, with the expansion absorbed into queries and outputs, whose
matrices are kept in the model's dtype. An all-reduce ends each half of a layer.
"""

from __future__ import annotations

from simulator.optime.attended import LatentDecode, LatentPrefill
from simulator.optime.families import Shard, llama, moe
from simulator.optime.families._parts import projection, sampled_operators
from simulator.optime.operators import ITEM_BYTES, Floats, Gemm, Ints, Memory, Operator

__all__ = ["check", "decode_operators", "prefill_operators", "sampled_operators", "token_operators"]


def check(shard: Shard) -> None:
    """Raises InputError when heads, dense layers or experts cannot be split so."""
    moe.check(shard)


def token_operators(shard: Shard, tokens: Ints, captured: bool) -> list[Operator]:
    """Returns all that depends on tokens[n] alone; `captured` says whether it is replayed from a CUDA graph."""
    return [*llama.around(shard, tokens), *_projections(shard, tokens), *moe.feed_forward(shard, tokens, captured)]


def _projections(shard: Shard, tokens: Ints) -> list[Operator]:
    model, layers, item = shard.model, shard.model.num_hidden_layers, ITEM_BYTES[shard.dtype]
    nope, rope, value, rank = _widths(shard)
    queries, latent, query_rank = shard.heads * (nope + rope), model.latent_dim, model.q_lora_rank
    operators: list[Operator] = [
        Memory("kv_norm", tokens, 2 * rank * item, count=layers),
        Memory("rope", tokens, 2 * (shard.heads + 1) * rope * item, count=layers),
        Memory("kv_write", tokens, latent * (item + ITEM_BYTES[shard.precision.kv]), count=layers),
        projection(shard, "o_proj", tokens, model.hidden_size, shard.heads * value, layers),
    ]
    if query_rank is None:
        return [
            *operators,
            projection(shard, "kv_a_proj", tokens, latent, model.hidden_size, layers),
            projection(shard, "q_proj", tokens, queries, model.hidden_size, layers),
        ]
    return [
        *operators,
        projection(shard, "qkv_a_proj", tokens, query_rank + latent, model.hidden_size, layers),
        Memory("query_norm", tokens, 2 * query_rank * item, count=layers),
        projection(shard, "q_b_proj", tokens, queries, query_rank, layers),
    ]


def _widths(shard: Shard) -> tuple[int, int, int, int]:
    """Returns the plain and the rotary width of a key head, the width of a value head, and the rank of the latents."""
    model = shard.model
    return model.qk_nope_head_dim or 0, model.qk_rope_head_dim or 0, model.v_head_dim or 0, model.kv_lora_rank or 0


def prefill_operators(shard: Shard, chunk: Ints, kv_before: Ints) -> list[Operator]:
    """Returns the expansion of the latents of chunk[n] and of kv_before[n] cached tokens, and the chunk's attention."""
    nope, rope, value, rank = _widths(shard)
    layers, precision = shard.model.num_hidden_layers, shard.precision
    shape = (shard.heads, nope + rope, value, shard.model.latent_dim, shard.dtype, precision.kv_dtype)
    return [
        projection(shard, "kv_b_proj", chunk + kv_before, shard.heads * (nope + value), rank, layers),
        LatentPrefill("prefill_attention", chunk, kv_before, *shape, count=layers),
    ]


def decode_operators(shard: Shard, batch: Ints, kv_mean: Floats) -> list[Operator]:
    """Returns the absorbed projections and the attention of batch[n] decodes of mean KV kv_mean[n], the new token counted."""
    nope, _, value, rank = _widths(shard)
    layers, heads = shard.model.num_hidden_layers, shard.heads
    shape = (heads, shard.model.latent_dim, rank, shard.dtype, shard.precision.kv_dtype)
    return [
        Gemm("absorbed_k_proj", batch, heads * rank, nope, shard.dtype, count=layers),
        LatentDecode("decode_attention", batch, kv_mean, *shape, count=layers),
        Gemm("absorbed_v_proj", batch, heads * value, rank, shard.dtype, count=layers),
    ]
