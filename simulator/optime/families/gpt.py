"""GPT: a decoder of LayerNorm, multi-head attention with learned positions and an MLP without a gate, as GPT-2 and GPT-3.

The kernels are those that vLLM launches for GPT-2: query, key and value as one GEMM, biases within the GEMMs, the
activation and each residual addition apart from them. All but the layer's own operators is as in Llama.
"""

from __future__ import annotations

from simulator.optime.families import Shard, llama
from simulator.optime.operators import ITEM_BYTES, AllReduce, Floats, Gemm, Ints, Memory, Operator


def check(shard: Shard) -> None:
    """Raises InputError when the tensor-parallel size does not divide heads and MLP, or neither divides the KV heads."""
    llama.check(shard)


def token_operators(shard: Shard, tokens: Ints, captured: bool) -> list[Operator]:
    """Returns all that depends on tokens[n] alone; `captured` says whether it is replayed from a CUDA graph."""
    model, dtype, layers = shard.model, shard.dtype, shard.model.num_hidden_layers
    item, hidden = ITEM_BYTES[dtype], shard.model.hidden_size
    query, kv, inner = shard.heads * model.head_dim, shard.kv_heads * model.head_dim, shard.intermediate_size
    operators: list[Operator] = [
        # A row of the tokens' table and one of the positions' are read, their sum is written.
        Memory("embedding", tokens, 3 * hidden * item),
        Memory("input_norm", tokens, 2 * hidden * item, count=layers),
        Gemm("qkv_proj", tokens, query + 2 * kv, hidden, dtype, count=layers),
        Memory("kv_write", tokens, 2 * 2 * kv * item, count=layers),
        Gemm("o_proj", tokens, hidden, query, dtype, count=layers),
        Memory("attention_residual", tokens, 3 * hidden * item, count=layers),
        Memory("post_norm", tokens, 2 * hidden * item, count=layers),
        Gemm("up_proj", tokens, inner, hidden, dtype, count=layers),
        Memory("activation", tokens, 2 * inner * item, count=layers),
        Gemm("down_proj", tokens, hidden, inner, dtype, count=layers),
        Memory("mlp_residual", tokens, 3 * hidden * item, count=layers),
        Memory("final_norm", tokens, 2 * hidden * item),
    ]
    if shard.tensor_parallel_size > 1:
        for name, count in (("embedding_all_reduce", 1), ("attention_all_reduce", layers), ("mlp_all_reduce", layers)):
            operators.append(AllReduce(name, tokens, hidden * item, shard.tensor_parallel_size, captured, count=count))
    return operators


def sampled_operators(shard: Shard, sampled: Ints) -> list[Operator]:
    """Returns LM head, gathering of logits and sampling for sampled[n] sequences."""
    return llama.sampled_operators(shard, sampled)


def prefill_operators(shard: Shard, chunk: Ints, kv_before: Ints) -> list[Operator]:
    """Returns the attention of one chunk[n] after kv_before[n] cached tokens."""
    return llama.prefill_operators(shard, chunk, kv_before)


def decode_operators(shard: Shard, batch: Ints, kv_mean: Floats) -> list[Operator]:
    """Returns the attention of batch[n] decodes of mean KV kv_mean[n], the new token counted."""
    return llama.decode_operators(shard, batch, kv_mean)
