"""Laws of every model family: the GPUs together do the model's work once, more work takes no less time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, LatentDecode, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.families import Shard
from simulator.optime.operators import AllGather, AllReduce, Experts, Gemm, Operator
from simulator.optime.precision import Precision, Stored

H100 = catalog.device("H100-SXM")
MIXTRAL, DEEPSEEK, GPT_OSS = "mistralai/Mixtral-8x7B-v0.1", "deepseek-ai/DeepSeek-V3", "openai/gpt-oss-20b"
QWEN, GEMMA, LLAMA, GPT = "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it", "meta-llama/Llama-3.1-8B", "openai/GPT-3-175B-4K"
LITE = "deepseek-ai/DeepSeek-V2-Lite-Chat"
NAMES = (MIXTRAL, DEEPSEEK, GPT_OSS, QWEN, GEMMA, LLAMA, GPT, LITE)
WITH_EXPERTS = (MIXTRAL, DEEPSEEK, GPT_OSS, QWEN, LITE)
SPLITS = ((1, 1, False), (4, 1, False), (4, 1, True), (1, 4, False), (1, 4, True), (2, 2, False), (2, 2, True))
CASES = [(n, *split) for n in NAMES for split in SPLITS if n in WITH_EXPERTS or (split[1] == 1 and not split[2])]


def shard(name: str, tensor: int = 1, engines: int = 1, whole: bool = False, **more: Any) -> Shard:
    return Shard(catalog.model(name), tensor, "bfloat16", None, engines, whole, **more)


def family(part: Shard) -> Any:
    return catalog.module("families", part.model.family, "family")


def by_name(operators: list[Operator]) -> dict[str, Any]:
    named = {operator.name: operator for operator in operators}
    assert len(named) == len(operators), "names of one list are distinct"
    return named


def token_operators(part: Shard, *tokens: int) -> dict[str, Any]:
    return by_name(family(part).token_operators(part, np.array(tokens), False))


@pytest.mark.parametrize(("name", "tensor", "engines", "whole"), CASES)
def test_all_gpus_together_do_the_flops_of_the_model(name: str, tensor: int, engines: int, whole: bool) -> None:
    part = shard(name, tensor, engines, whole)
    operators = token_operators(part, 64)
    if part.model.kv_lora_rank:
        expanded = family(part).prefill_operators(part, np.array([64]), np.array([0]))
        operators["kv_b_proj"] = by_name(expanded)["kv_b_proj"]
    done = 0.0
    for operator in operators.values():
        if isinstance(operator, Gemm | Experts):
            # Every GPU of an engine does all of the first projections of latents, and of the router unless tokens are shared.
            repeated = operator.name == "qkv_a_proj" or operator.name == "kv_a_proj"
            repeated |= operator.name == "router" and not part.sequence_parallel
            done += operator.count * operator.flops[0] * part.expert_gpus / (tensor if repeated else 1)
    assert done == pytest.approx(64 * engines * part.model.flops_per_token(), rel=1e-12)


@pytest.mark.parametrize(("name", "tensor", "engines", "whole"), CASES)
def test_times_are_positive_and_rise_with_tokens_and_context(name: str, tensor: int, engines: int, whole: bool) -> None:
    part = shard(name, tensor, engines, whole)
    tokens, context = np.array([1, 2, 7, 8, 64, 512, 4096]), np.array([0, 64, 64, 128, 1024, 8192, 8192])
    lists = [
        family(part).token_operators(part, tokens, True),
        family(part).sampled_operators(part, tokens),
        family(part).prefill_operators(part, tokens, context),
        family(part).decode_operators(part, tokens, context + 1.0),
    ]
    for operators in lists:
        for operator in by_name(operators).values():
            seconds = bound(operator, H100)
            assert seconds is not None and operator.count > 0, operator.name
            assert np.all(seconds > 0) and np.all(np.diff(seconds) >= 0), operator.name


def test_engines_that_step_together_share_the_experts_and_nothing_else() -> None:
    one, four = token_operators(shard(QWEN), 64), token_operators(shard(QWEN, 1, 4, True), 64)
    assert four["qkv_proj"].flops == one["qkv_proj"].flops
    assert four["experts"].rows == 4 * one["experts"].rows
    assert (four["experts"].local_experts, four["experts"].intermediate_size) == (32, 768)
    sliced = token_operators(shard(QWEN, 1, 4), 64)
    assert (sliced["experts"].local_experts, sliced["experts"].intermediate_size) == (128, 192)
    # The tokens of four engines, 2048 numbers of two bytes each; the choices of eight experts go with them.
    assert four["experts_reduce_scatter"].bytes[0] == 4 * 64 * 2048 * 2
    assert four["experts_gather"].bytes[0] == 4 * 64 * (2048 * 2 + 8 * 8)
    assert not any(isinstance(operator, AllGather) for operator in one.values())


def test_an_engine_of_several_gpus_brings_each_token_once() -> None:
    # vLLM 0.19, use_sequence_parallel_moe: with both TP and DP the GPUs of an engine share its tokens before the experts.
    both = token_operators(shard(DEEPSEEK, 2, 2, True), 64)
    assert both["router"].m == 32
    assert both["experts"].rows == 128
    assert both["experts_gather"].gpus == 4
    assert both["shared_down_proj"].k == 2048 and both["shared_down_proj"].m == 32
    assert both["experts_rejoin"].gpus == 2 and "experts_all_reduce" not in both
    without = token_operators(shard(DEEPSEEK, 2, 2), 64)
    assert without["experts_gather"].gpus == 2 and without["experts_all_reduce"].gpus == 2
    assert without["shared_down_proj"].k == 1024 and without["shared_down_proj"].m == 64


def test_dense_and_routed_layers_have_counts_of_their_own() -> None:
    operators = token_operators(shard(DEEPSEEK, 8), 64)
    assert operators["gate_up_proj"].count == 3 and operators["experts"].count == 58
    assert operators["gate_up_proj"].n == 2 * 18432 // 8
    assert operators["qkv_a_proj"].count == operators["attention_all_reduce"].count == 61
    assert operators["mlp_all_reduce"].count == 3 and operators["experts_all_reduce"].count == 58
    assert "gate_up_proj" not in token_operators(shard(QWEN), 64)


def test_latent_attention_reads_one_latent_for_all_heads() -> None:
    part = shard(DEEPSEEK, 8)
    operators = by_name(family(part).decode_operators(part, np.array([32]), np.array([4096.0])))
    latent = operators["decode_attention"]
    assert isinstance(latent, LatentDecode) and latent.heads == 16
    queries = 2 * 32 * 16 * (576 + 512)
    assert latent.bytes[0] == queries + 2 * 32 * 4096 * 576
    # Absorbed: 128 heads of 128 to 512 and back are as many multiplications as the expansion of one token a decode.
    whole = family(shard(DEEPSEEK)).decode_operators(shard(DEEPSEEK), np.array([32]), np.array([4096.0]))
    absorbed = sum(each.flops[0] for each in whole if isinstance(each, Gemm))
    assert absorbed == 2 * 32 * 128 * 512 * (128 + 128)


def test_a_chunk_expands_the_latents_of_all_of_its_context() -> None:
    part = shard(LITE)
    operators = by_name(family(part).prefill_operators(part, np.array([128, 128]), np.array([0, 4096])))
    assert operators["kv_b_proj"].m.tolist() == [128, 4224]


def test_layers_with_a_window_stop_growing_with_the_context() -> None:
    part = shard(GEMMA)
    near, far = (by_name(family(part).decode_operators(part, np.array([16]), np.array([kv]))) for kv in (2048.0, 65536.0))
    window, full = "decode_attention_window", "decode_attention"
    assert near[window].count == 52 and near[full].count == 10
    assert near[window].bytes == far[window].bytes
    assert far[full].flops == 32 * near[full].flops
    chunk = by_name(family(part).prefill_operators(part, np.array([4096]), np.array([0])))
    assert isinstance(chunk["prefill_attention_window"], PrefillAttention)
    assert chunk["prefill_attention_window"].flops < 0.5 * chunk["prefill_attention"].flops


def test_a_model_without_windows_has_one_kind_of_attention() -> None:
    part = shard(LLAMA)
    (only,) = family(part).decode_operators(part, np.array([16]), np.array([4096.0]))
    assert isinstance(only, DecodeAttention) and only.window is None and only.count == 32


def test_gemma_has_four_norms_a_layer_and_llama_two() -> None:
    def norms(name: str) -> int:
        operators = token_operators(shard(name), 64)
        return sum(
            each.count for each in operators.values() if each.name.endswith("_norm") and each.name not in ("qk_norm", "final_norm")
        )

    assert norms(GEMMA) == 4 * 62
    assert norms(LLAMA) == 2 * 32


def test_parallel_attention_is_summed_once_and_has_one_norm() -> None:
    model = catalog.model(GPT).model_copy(update={"parallel_attention": True, "learned_positions": False})
    beside = token_operators(Shard(model, 8, "bfloat16"), 64)
    after = token_operators(shard(GPT, 8), 64)
    sums = [sum(isinstance(each, AllReduce) for each in operators.values()) for operators in (beside, after)]
    assert sums == [2, 3]
    assert "post_norm" not in beside and "post_norm" in after
    assert "rope" in beside and "rope" not in after


def test_quantised_weights_are_read_as_they_are_stored_and_the_rest_in_16_bits() -> None:
    fp8, mxfp4 = Stored("fp8", "fp8"), Stored("bfloat16", "mxfp4")
    part = Shard(catalog.model(QWEN), 1, "bfloat16", Precision("bfloat16", fp8, mxfp4, "fp8"))
    operators = token_operators(part, 1)
    plain = token_operators(shard(QWEN), 1)
    assert (operators["qkv_proj"].dtype, operators["qkv_proj"].weight_dtype) == ("fp8", None)
    assert (operators["experts"].dtype, operators["experts"].weight_dtype) == ("bfloat16", "mxfp4")
    assert operators["router"].dtype == "bfloat16"
    assert operators["experts"].bytes[0] == pytest.approx(plain["experts"].bytes[0] / 4, rel=0.01)
    assert by_name(family(part).sampled_operators(part, np.array([1])))["lm_head"].dtype == "bfloat16"
    (decode,) = family(part).decode_operators(part, np.array([64]), np.array([4096.0]))
    assert decode.kv_dtype == "fp8"


@pytest.mark.parametrize(
    ("name", "split", "told"),
    [
        (QWEN, (1, 5, False), "moe_intermediate_size (768)"),
        (QWEN, (1, 256, True), "num_local_experts (128)"),
        (DEEPSEEK, (3, 1, False), "num_attention_heads (128)"),
        (MIXTRAL, (6, 1, False), "num_attention_heads (32)"),
    ],
)
def test_a_split_that_heads_or_experts_cannot_take_is_refused(name: str, split: tuple[int, int, bool], told: str) -> None:
    part = shard(name, *split)
    with pytest.raises(InputError) as error:
        family(part).check(part)
    assert told in str(error.value)
