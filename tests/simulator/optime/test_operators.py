"""Work of operators against figures worked out by hand for Llama-3.1-8B, and laws that any shape must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.families import Shard, llama
from simulator.optime.operators import AllGather, AllReduce, Gemm, Memory

MODEL = catalog.model("meta-llama/Llama-3.1-8B")
ONE = np.array([1])


def prefill(chunk: int, kv_before: int) -> PrefillAttention:
    return PrefillAttention("a", np.array([chunk]), np.array([kv_before]), 32, 8, 128, "bfloat16")


def test_gemm_of_query_key_value_at_1024_tokens() -> None:
    gemm = Gemm("qkv_proj", np.array([1024]), 6144, 4096, "bfloat16")
    assert gemm.flops[0] == 51_539_607_552
    # 1024 x 4096 in, 4096 x 6144 weights, 1024 x 6144 out, of two bytes
    assert gemm.bytes[0] == 2 * (4_194_304 + 25_165_824 + 6_291_456)


def test_prefill_attention_counts_the_unmasked_pairs() -> None:
    # 4 tokens after 3 cached ones see 4, 5, 6 and 7 tokens.
    assert prefill(4, 3).flops[0] == 4 * 32 * 128 * 22
    # queries and outputs of 4 x 32 heads, keys and values of 7 x 8 heads
    assert prefill(4, 3).bytes[0] == 2 * 128 * (2 * 4 * 32 + 2 * 7 * 8)


def test_decode_attention_reads_all_kv_of_the_batch() -> None:
    decode = DecodeAttention("a", np.array([64]), np.array([1536.0]), 32, 8, 128, "bfloat16")
    assert decode.bytes[0] == 2 * 128 * (2 * 64 * 32 + 2 * 64 * 1536 * 8)
    assert decode.flops[0] == 4 * 32 * 128 * 64 * 1536


@given(st.integers(1, 4096), st.integers(0, 100_000), st.data())
def test_chunks_of_a_prompt_do_the_work_of_the_whole(chunk: int, kv_before: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, chunk))
    parts = prefill(first, kv_before).flops + prefill(chunk - first, kv_before + first).flops
    assert parts == pytest.approx(prefill(chunk, kv_before).flops)


@given(st.integers(0, 100_000))
def test_a_decode_is_a_chunk_of_one(kv_before: int) -> None:
    decode = DecodeAttention("a", ONE, np.array([kv_before + 1.0]), 32, 8, 128, "bfloat16")
    assert decode.flops == pytest.approx(prefill(1, kv_before).flops)
    assert decode.bytes == pytest.approx(prefill(1, kv_before).bytes)


def test_collectives_move_the_least_volume() -> None:
    assert AllReduce("r", np.array([64]), 16384, 8).link_bytes[0] == 2 * 7 / 8 * 64 * 16384
    assert AllGather("g", np.array([64]), 16384, 8).link_bytes[0] == 7 / 8 * 64 * 16384
    assert AllReduce("r", np.array([64]), 16384, 1).link_bytes[0] == 0


def test_gemms_of_a_step_do_the_flops_and_read_the_weights_of_the_model() -> None:
    shard = Shard(MODEL, 1, "bfloat16")
    gemms = [o for o in llama.token_operators(shard, ONE, captured=False) if isinstance(o, Gemm)]
    assert sum(o.count * o.flops[0] for o in gemms) == MODEL.num_hidden_layers * MODEL.layer_flops_per_token()
    weights = sum(o.count * o.n * o.k for o in gemms) + MODEL.embedding_parameters * 2
    norms = MODEL.num_hidden_layers * 2 * MODEL.hidden_size + MODEL.hidden_size
    assert weights + norms == MODEL.parameters


@pytest.mark.parametrize("size", [2, 4, 8])
def test_tensor_parallel_gpus_share_the_flops_evenly(size: int) -> None:
    def flops(shard: Shard) -> float:
        points = llama.token_operators(shard, ONE, captured=False) + llama.prefill_operators(shard, ONE, ONE)
        return sum(o.count * float(o.flops[0]) for o in points if isinstance(o, Gemm | PrefillAttention))

    assert size * flops(Shard(MODEL, size, "bfloat16")) == flops(Shard(MODEL, 1, "bfloat16"))


def test_kv_heads_fewer_than_gpus_are_kept_more_than_once() -> None:
    shard = Shard(MODEL, 16, "bfloat16")
    assert (shard.heads, shard.kv_heads) == (2, 1)


def test_collectives_come_with_tensor_parallelism_only() -> None:
    def names(size: int) -> set[str]:
        shard = Shard(MODEL, size, "bfloat16")
        every = llama.token_operators(shard, ONE, captured=False) + llama.sampled_operators(shard, ONE)
        assert len({o.name for o in every}) == len(every)
        return {o.name for o in every}

    assert names(2) - names(1) == {"embedding_all_reduce", "attention_all_reduce", "mlp_all_reduce", "logits_all_gather"}


def test_norms_on_queries_and_keys_come_with_the_models_that_have_them() -> None:
    shard = Shard(catalog.model("Qwen/Qwen3-8B"), 1, "bfloat16")
    assert "qk_norm" in {o.name for o in llama.token_operators(shard, ONE, captured=False)}


@pytest.mark.parametrize(("size", "told"), [(3, "num_attention_heads"), (64, "num_attention_heads")])
def test_a_size_that_cuts_a_head_is_refused(size: int, told: str) -> None:
    with pytest.raises(InputError, match=f"tensor_parallel_size: {size} .*{told}"):
        llama.check(Shard(MODEL, size, "bfloat16"))


def test_a_kernel_that_moves_bytes_has_no_flops() -> None:
    memory = Memory("norm", np.array([2, 3]), 10)
    assert memory.bytes.tolist() == [20, 30]
    assert memory.flops.tolist() == [0, 0]
