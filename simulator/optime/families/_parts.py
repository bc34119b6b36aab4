"""Parts that families share: grouped-query attention, an MLP, the LM head, all-reduces.

Layers of one kind are priced together: `layers` is how many of them there are.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.families import Shard
from simulator.optime.operators import ITEM_BYTES, AllGather, AllReduce, Floats, Gemm, Ints, Memory, Operator

# The sampler reads the logits, writes them in 32 bits and reads those to choose: bytes beside the first read.
SAMPLER_BYTES_PER_LOGIT = 8
FIELD = "deployment.tensor_parallel_size"


def check(shard: Shard) -> None:
    """Raises InputError when the tensor-parallel size does not divide heads and MLP, or neither divides the KV heads."""
    model, size = shard.model, shard.tensor_parallel_size
    for name in ("num_attention_heads", *(("intermediate_size",) if model.dense_layers else ())):
        if getattr(model, name) % size:
            raise InputError(FIELD, size, f"a divisor of {name} ({getattr(model, name)})")
    if model.kv_lora_rank is None and model.num_key_value_heads % size and size % model.num_key_value_heads:
        raise InputError(FIELD, size, f"a divisor or a multiple of num_key_value_heads ({model.num_key_value_heads})")


def projection(shard: Shard, name: str, rows: Ints, n: int, k: int, layers: int) -> Gemm:
    """Returns the GEMM of a projection, in the data types that the deployment's quantization gives it."""
    linear = shard.precision.linear
    return Gemm(name, rows, n, k, linear.compute, linear.weight_dtype, count=layers)


def attention_projections(shard: Shard, tokens: Ints, layers: int, rotary: bool = True) -> list[Operator]:
    """Returns all of grouped-query attention but the attention itself, for tokens[n]."""
    model, item = shard.model, ITEM_BYTES[shard.dtype]
    query, kv = shard.heads * model.head_dim, shard.kv_heads * model.head_dim
    operators: list[Operator] = [
        projection(shard, "qkv_proj", tokens, query + 2 * kv, model.hidden_size, layers),
        Memory("kv_write", tokens, 2 * kv * (item + ITEM_BYTES[shard.precision.kv]), count=layers),
        projection(shard, "o_proj", tokens, model.hidden_size, query, layers),
    ]
    if rotary:
        operators.append(Memory("rope", tokens, 2 * (query + kv) * item, count=layers))
    if model.qk_norm:
        operators.append(Memory("qk_norm", tokens, 2 * (query + kv) * item, count=layers))
    return operators


def mlp(shard: Shard, tokens: Ints, width: int, layers: int, prefix: str = "") -> list[Operator]:
    """Returns an MLP of which this GPU has so much width; gate and up are one GEMM."""
    hidden, gated = shard.model.hidden_size, shard.model.gated_mlp
    up = "gate_up_proj" if gated else "up_proj"
    return [
        projection(shard, f"{prefix}{up}", tokens, (2 if gated else 1) * width, hidden, layers),
        Memory(f"{prefix}activation", tokens, (3 if gated else 2) * width * ITEM_BYTES[shard.dtype], count=layers),
        projection(shard, f"{prefix}down_proj", tokens, hidden, width, layers),
    ]


def norm(shard: Shard, name: str, tokens: Ints, layers: int = 1, passes: int = 4) -> Memory:
    """Returns a norm; of its `passes` over the hidden state two are the residual's, read and written with it."""
    return Memory(name, tokens, passes * shard.model.hidden_size * ITEM_BYTES[shard.dtype], count=layers)


def all_reduces(shard: Shard, tokens: Ints, captured: bool, **layers: int) -> list[Operator]:
    """Returns the sum of hidden states over the GPUs of an engine, by name, and that of the embedding; none with one GPU."""
    if shard.tensor_parallel_size == 1:
        return []
    width = shard.model.hidden_size * ITEM_BYTES[shard.dtype]
    return [
        AllReduce(f"{name}_all_reduce", tokens, width, shard.tensor_parallel_size, captured, count=count)
        for name, count in {"embedding": 1, **layers}.items()
        if count
    ]


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
    """Returns the attention of one chunk[n] after kv_before[n] cached tokens, layers with a window apart."""
    model, kv_dtype = shard.model, shard.precision.kv_dtype
    shape = (shard.heads, shard.kv_heads, model.head_dim, shard.dtype, kv_dtype)
    return [
        PrefillAttention(f"prefill_attention{suffix}", chunk, kv_before, *shape, window, count=layers)
        for suffix, window, layers in _windows(shard)
    ]


def decode_operators(shard: Shard, batch: Ints, kv_mean: Floats) -> list[Operator]:
    """Returns the attention of batch[n] decodes of mean KV kv_mean[n], the new token counted, layers with a window apart."""
    model, kv_dtype = shard.model, shard.precision.kv_dtype
    shape = (shard.heads, shard.kv_heads, model.head_dim, shard.dtype, kv_dtype)
    return [
        DecodeAttention(f"decode_attention{suffix}", batch, kv_mean, *shape, window, count=layers)
        for suffix, window, layers in _windows(shard)
    ]


def _windows(shard: Shard) -> list[tuple[str, int | None, int]]:
    """Returns suffix, window and number of the layers that attend to all tokens, and of those that slide."""
    model = shard.model
    sliding = model.sliding_layers
    kinds = [("", None, model.num_hidden_layers - sliding), ("_window", model.sliding_window, sliding)]
    return [(suffix, window, layers) for suffix, window, layers in kinds if layers]
