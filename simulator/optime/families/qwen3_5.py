"""Qwen3.5: every fourth layer attends, with a gate on its output; the others are Gated DeltaNet; all have routed experts.

A layer of Gated DeltaNet (arXiv 2412.06464) projects queries, keys, values and a gate in one GEMM, convolves them over four
tokens, and keeps a state of key width times value width in 32 bits for each value head: a decode reads and writes it, a chunk
of a prompt does so once in 64 tokens, as the kernels of flash-linear-attention do.
"""

from __future__ import annotations

from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.families import Shard, _parts, llama, moe
from simulator.optime.families._parts import projection, sampled_operators
from simulator.optime.operators import ITEM_BYTES, Floats, Gemm, Ints, Memory, Operator

__all__ = ["check", "decode_operators", "prefill_operators", "sampled_operators", "token_operators"]

STATE_BYTES, CHUNK_TOKENS, CONVOLVED = 4, 64, 4


def check(shard: Shard) -> None:
    """Raises InputError when heads or experts cannot be split so."""
    moe.check(shard)


def _layers(shard: Shard) -> tuple[int, int]:
    """Returns the layers that attend, and those that keep a state."""
    full = shard.model.num_hidden_layers // (shard.model.full_attention_interval or 1)
    return full, shard.model.num_hidden_layers - full


def _widths(shard: Shard) -> tuple[int, int, int]:
    """Returns this GPU's widths of all keys and of all values of a linear layer, and the bytes of its states."""
    model, size = shard.model, shard.tensor_parallel_size
    key_dim, value_dim = model.linear_key_head_dim or 0, model.linear_value_head_dim or 0
    keys, values = (model.linear_num_key_heads or 0) * key_dim // size, (model.linear_num_value_heads or 0) * value_dim // size
    return keys, values, values * key_dim * STATE_BYTES


def token_operators(shard: Shard, tokens: Ints, captured: bool) -> list[Operator]:
    """Returns all that depends on tokens[n] alone; `captured` says whether it is replayed from a CUDA graph."""
    model, item = shard.model, ITEM_BYTES[shard.dtype]
    full, linear = _layers(shard)
    query, (keys, values, _) = shard.heads * model.head_dim, _widths(shard)
    heads = max(1, (model.linear_num_value_heads or 1) // shard.tensor_parallel_size)
    return [
        *llama.around(shard, tokens),
        *_parts.attention_projections(shard, tokens, full),
        projection(shard, "gate_proj", tokens, query, model.hidden_size, full),
        Memory("output_gate", tokens, 3 * query * item, count=full),
        projection(shard, "linear_in_proj", tokens, 2 * keys + 2 * values, model.hidden_size, linear),
        Gemm("linear_rates_proj", tokens, 2 * heads, model.hidden_size, shard.dtype, count=linear),
        Memory("linear_convolution", tokens, (CONVOLVED + 1) * (2 * keys + values) * item, count=linear),
        Memory("linear_gated_norm", tokens, 3 * values * item, count=linear),
        projection(shard, "linear_out_proj", tokens, model.hidden_size, values, linear),
        *moe.feed_forward(shard, tokens, captured),
    ]


def prefill_operators(shard: Shard, chunk: Ints, kv_before: Ints) -> list[Operator]:
    """Returns the attention and the state updates of one chunk[n] after kv_before[n] cached tokens."""
    full, linear = _layers(shard)
    keys, values, state = _widths(shard)
    per_token = 2 * state / CHUNK_TOKENS + (2 * keys + 2 * values) * ITEM_BYTES[shard.dtype]
    shape = (shard.heads, shard.kv_heads, shard.model.head_dim, shard.dtype, shard.precision.kv_dtype)
    return [
        PrefillAttention("prefill_attention", chunk, kv_before, *shape, None, count=full),
        Memory("prefill_state", chunk, per_token, count=linear),
    ]


def decode_operators(shard: Shard, batch: Ints, kv_mean: Floats) -> list[Operator]:
    """Returns the attention and the state updates of batch[n] decodes of mean KV kv_mean[n], the new token counted."""
    full, linear = _layers(shard)
    shape = (shard.heads, shard.kv_heads, shard.model.head_dim, shard.dtype, shard.precision.kv_dtype)
    return [
        DecodeAttention("decode_attention", batch, kv_mean, *shape, None, count=full),
        Memory("decode_state", batch, 2 * _widths(shard)[2], count=linear),
    ]
