"""Llama: a decoder of RMS norm, rotary grouped-query or multi-head attention and gated MLP; also Mistral, Qwen, Yi, Phi-3.

The kernels are those that vLLM launches: one for a residual addition and its norm, one for the gate and its activation,
query, key and value as one GEMM, gate and up as one GEMM. Under tensor parallelism the embedding and each half of a layer
end in an all-reduce, and the logits are gathered.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.optime.families import Shard
from simulator.optime.operators import (
    ITEM_BYTES,
    AllGather,
    AllReduce,
    DecodeAttention,
    Floats,
    Gemm,
    Ints,
    Memory,
    Operator,
    PrefillAttention,
)

# The sampler reads the logits, writes them in 32 bits and reads those to choose: bytes beside the first read.
SAMPLER_BYTES_PER_LOGIT = 8


def check(shard: Shard) -> None:
    """Raises InputError when the tensor-parallel size does not divide heads and MLP, or neither divides the KV heads."""
    model, size = shard.model, shard.tensor_parallel_size
    field = "deployment.tensor_parallel_size"
    for name in ("num_attention_heads", "intermediate_size"):
        if getattr(model, name) % size:
            raise InputError(field, size, f"a divisor of {name} ({getattr(model, name)})")
    if model.num_key_value_heads % size and size % model.num_key_value_heads:
        raise InputError(field, size, f"a divisor or a multiple of num_key_value_heads ({model.num_key_value_heads})")


def token_operators(shard: Shard, tokens: Ints, captured: bool) -> list[Operator]:
    """Returns all that depends on tokens[n] alone; `captured` says whether it is replayed from a CUDA graph."""
    model, dtype, layers = shard.model, shard.dtype, shard.model.num_hidden_layers
    item, hidden = ITEM_BYTES[dtype], shard.model.hidden_size
    query, kv, inner = shard.heads * model.head_dim, shard.kv_heads * model.head_dim, shard.intermediate_size
    operators: list[Operator] = [
        Memory("embedding", tokens, 2 * hidden * item),
        Memory("input_norm", tokens, 4 * hidden * item, count=layers),
        Gemm("qkv_proj", tokens, query + 2 * kv, hidden, dtype, count=layers),
        Memory("rope", tokens, 2 * (query + kv) * item, count=layers),
        Memory("kv_write", tokens, 2 * 2 * kv * item, count=layers),
        Gemm("o_proj", tokens, hidden, query, dtype, count=layers),
        Memory("post_norm", tokens, 4 * hidden * item, count=layers),
        Gemm("gate_up_proj", tokens, 2 * inner, hidden, dtype, count=layers),
        Memory("activation", tokens, 3 * inner * item, count=layers),
        Gemm("down_proj", tokens, hidden, inner, dtype, count=layers),
        Memory("final_norm", tokens, 4 * hidden * item),
    ]
    if model.qk_norm:
        operators.append(Memory("qk_norm", tokens, 2 * (query + kv) * item, count=layers))
    if shard.tensor_parallel_size > 1:
        for name, count in (("embedding_all_reduce", 1), ("attention_all_reduce", layers), ("mlp_all_reduce", layers)):
            operators.append(AllReduce(name, tokens, hidden * item, shard.tensor_parallel_size, captured, count=count))
    return operators


def sampled_operators(shard: Shard, sampled: Ints) -> list[Operator]:
    """Returns LM head, gathering of logits and sampling for sampled[n] sequences."""
    item, vocabulary = ITEM_BYTES[shard.dtype], shard.model.vocab_size
    operators: list[Operator] = [
        Gemm("lm_head", sampled, shard.vocab_size, shard.model.hidden_size, shard.dtype),
        Memory("sampling", sampled, vocabulary * (item + SAMPLER_BYTES_PER_LOGIT)),
    ]
    if shard.tensor_parallel_size > 1:
        operators.append(AllGather("logits_all_gather", sampled, vocabulary * item, shard.tensor_parallel_size))
    return operators


def prefill_operators(shard: Shard, chunk: Ints, kv_before: Ints) -> list[Operator]:
    """Returns the attention of one chunk[n] after kv_before[n] cached tokens."""
    shape = (shard.heads, shard.kv_heads, shard.model.head_dim, shard.dtype)
    return [PrefillAttention("prefill_attention", chunk, kv_before, *shape, count=shard.model.num_hidden_layers)]


def decode_operators(shard: Shard, batch: Ints, kv_mean: Floats) -> list[Operator]:
    """Returns the attention of batch[n] decodes of mean KV kv_mean[n], the new token counted."""
    shape = (shard.heads, shard.kv_heads, shard.model.head_dim, shard.dtype)
    return [DecodeAttention("decode_attention", batch, kv_mean, *shape, count=shard.model.num_hidden_layers)]
