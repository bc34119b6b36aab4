"""Knobs that stand for published systems: what they are by default, what they rule out, and which way they move a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search.request import SearchRequest
from search.space import Limits, Space
from simulator import features, featuretimes
from simulator.draw import draw
from simulator.errors import InputError
from simulator.kernel.pricelist import DECODE_ONLY
from simulator.resolve import resolve
from simulator.run import prepare, saturated_rate
from simulator.scenario import Scenario
from simulator.spec.deployment import Deployment, Resolved
from simulator.spec.workload import Workload
from simulator.stepcost import price_list

DENSE, EXPERTS, LATENT = "meta-llama/Llama-3.1-8B", "mistralai/Mixtral-8x7B-v0.1", "deepseek-ai/DeepSeek-V3"
PROFILES = [{"source": "roofline"}]
PAGE = 2**21


def resolved(**knobs: Any) -> Resolved:
    return resolve(Deployment.parse({"model": DENSE, "device": "A100-80G-SXM", "max_model_len": 32768, **knobs}))


def rate(prompt: int, output: int, **knobs: Any) -> float:
    """Returns the requests a second of one saturated replica."""
    traffic = draw(
        Workload.parse({"prompt_tokens": {"fixed": prompt}, "output_tokens": {"fixed": output}, "num_requests": 120}), None, 0
    )
    return saturated_rate(prepare(resolved(**knobs), PROFILES), traffic)


def test_without_a_word_nothing_of_them_is_on() -> None:
    plain = resolved()
    assert (plain.attention_backend, plain.kv_allocator, plain.determinism) == ("auto", "paged", "none")
    assert {getattr(plain, name) for name in (*features.OF_CONTIGUOUS, *features.OF_VERIFIED)} == {None}
    assert featuretimes.origins(plain) == {} and price_list(plain, PROFILES)[0].fused == 0.0


@pytest.mark.parametrize(
    ("knobs", "field", "allowed"),
    [
        ({"attention_backend": "pod", "model": LATENT, "tensor_parallel_size": 8}, "attention_backend", "latent"),
        ({"kv_allocator": "contiguous", "enable_prefix_caching": True}, "enable_prefix_caching", "share no pages"),
        ({"kv_allocator": "contiguous", "kv_page_bytes": 4096}, "kv_page_bytes", "65536, 131072, 262144, 2097152"),
        ({"kv_allocator": "contiguous", "block_size": 16}, "block_size", "1024, the tokens of a page"),
        ({"kv_page_bytes": PAGE}, "kv_page_bytes", "nothing without kv_allocator: contiguous"),
        ({"verification_window": 32}, "verification_window", "nothing without determinism: verified"),
        ({"determinism": "verified", "async_scheduling": True}, "async_scheduling", "false"),
        ({"determinism": "verified", "enable_prefix_caching": True}, "enable_prefix_caching", "false"),
        ({"determinism": "verified", "pipeline_parallel_size": 2}, "pipeline_parallel_size", "1 with determinism"),
        ({"determinism": "verified", "model": EXPERTS, "tensor_parallel_size": 2}, "determinism", "experts"),
        ({"determinism": "verified", "verification_window": 8}, "verification_window", "16 to 1024"),
        ({"determinism": "verified", "deterministic_share": 0.0}, "deterministic_share", "greater than 0"),
    ],
)
def test_what_cannot_go_together_is_refused_by_name(knobs: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        resolved(**knobs)
    assert caught.value.field.endswith(field) and allowed in str(caught.value)


def test_a_page_is_a_block_and_holds_what_it_holds() -> None:
    for page, tokens in ((PAGE, 1024), (65536, 32)):
        deployment = resolved(kv_allocator="contiguous", kv_page_bytes=page)
        memory = prepare(deployment, PROFILES).memory
        assert deployment.block_size == tokens and not deployment.enable_prefix_caching
        assert memory.block_bytes == 2 * 32 * page, "keys and values of 32 layers"
    # Half of the heads make a page hold twice the tokens (vAttention, arXiv 2405.04437, section 6.1).
    assert resolved(kv_allocator="contiguous", tensor_parallel_size=2).block_size == 2048
    assert resolved(kv_allocator="contiguous", kv_cache_dtype="fp8").block_size == 2048


def test_large_pages_hold_fewer_short_requests() -> None:
    small, large = (
        rate(300, 20, kv_allocator="contiguous", kv_page_bytes=page, num_gpu_blocks_override=blocks)
        for page, blocks in ((65536, 32 * 64), (PAGE, 64))
    )
    assert large < small, "the same bytes, more of them empty"


def test_contiguous_prefill_is_faster_only_where_that_was_measured_and_more_so_over_long_contexts() -> None:
    def prefill(device: str, **knobs: Any) -> Any:
        return price_list(resolved(device=device, enable_prefix_caching=False, **knobs), PROFILES)[0].prefill_s

    for device, gains in (("A100-80G-SXM", True), ("H100-SXM", False)):
        paged, contiguous = prefill(device), prefill(device, kv_allocator="contiguous")
        assert np.all(contiguous <= paged * (1 + 1e-12))
        assert (contiguous[-1, -1] < paged[-1, -1] * 0.97) == gains
    context = np.array([0.0, 98304.0, 196608.0, 1e6])
    assert featuretimes.paged_factor("ampere", context) == pytest.approx([1, 1.135, 1.27, 1.27])


def test_fused_attention_pays_in_mixed_steps_alone_and_never_costs() -> None:
    serial, fused = (price_list(resolved(attention_backend=name), PROFILES)[0] for name in ("serial", "pod"))
    assert (serial.fused, fused.fused) == (0.0, 0.44)
    for table in ("token_s", "decode_s", "mixed_decode_s", "prefill_s"):
        assert np.array_equal(getattr(serial, table), getattr(fused, table))
    mixing = {"scheduler": "sarathi_serve", "max_num_batched_tokens": 512}
    gain = rate(4000, 400, attention_backend="pod", **mixing) / rate(4000, 400, attention_backend="serial", **mixing)
    assert 1.0 < gain < 1.59
    whole = {"scheduler": "faster_transformer"}
    assert rate(400, 40, attention_backend="pod", **whole) == rate(400, 40, attention_backend="serial", **whole)


def test_verification_costs_more_the_more_is_verified_and_least_in_full_passes() -> None:
    off = {"enable_prefix_caching": False, "async_scheduling": False}
    plain = rate(512, 128, **off)
    shares = [rate(512, 128, determinism="verified", deterministic_share=share) / plain for share in (0.02, 0.2, 1.0)]
    assert 1.0 > shares[0] > shares[1] > shares[2] > 0.5
    alone = rate(512, 128, determinism="verified", verification_sequences=1)
    assert alone < rate(512, 128, determinism="verified"), "a pass of one request costs nearly as much as one of sixteen"
    costs, verified = (price_list(resolved(**knobs), PROFILES)[0] for knobs in (off, {"determinism": "verified"}))
    assert np.all(verified.decode_s > costs.decode_s) and np.array_equal(verified.prefill_s, costs.prefill_s)
    assert np.array_equal(verified.token_s[DECODE_ONLY], costs.token_s[DECODE_ONLY])


def test_tokens_decoded_again_are_as_published() -> None:
    assert [featuretimes.recomputed_share(window) for window in (16, 32, 1024)] == [0.0387, 0.0823, 1.0259]
    assert 0.0823 < featuretimes.recomputed_share(48) < 0.1655


def test_gaps_between_verified_tokens_are_not_promised() -> None:
    asked = {"workload": {"preset": "chat"}, "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}}
    with pytest.raises(InputError, match=r"slo\.itl_p99_s"):
        Scenario.parse({"deployment": {"model": DENSE, "device": "H100-SXM", "determinism": "verified"}, **asked})
    space = {"device": "H100-SXM", "determinism": ["none", "verified"]}
    with pytest.raises(InputError, match=r"slo\.itl_p99_s"):
        SearchRequest.parse({"name": "a", "model": DENSE, "prices": "cloud-2026-11", "space": space, **asked})


def test_graphs_are_kept_only_where_they_pay() -> None:
    modes = ("NONE", "FULL_AND_PIECEWISE", "SELECTIVE")
    eager, always, chosen = (price_list(resolved(cudagraph_mode=mode, max_num_seqs=256), PROFILES)[0] for mode in modes)
    decode = DECODE_ONLY
    assert np.all(chosen.token_s <= always.token_s) and np.all(
        chosen.token_s[decode] >= np.minimum(eager.token_s, always.token_s)[decode]
    )
    assert np.array_equal(chosen.floor_s, always.floor_s)
    ours = np.flatnonzero(chosen.token_s[decode] < always.token_s[decode])
    assert np.all(eager.token_s[decode][ours] >= 32 * 2.31e-4), "only where the GPU is busy for as long as launches take"


def test_a_space_tries_windows_only_where_tokens_are_verified() -> None:
    data = {"device": "H100-SXM", "determinism": ["none", "verified"], "verification_window": [32, 64]}
    space = Space.parse(data, model=DENSE, engine="vllm-0.19", limits=Limits(8))
    found = {(each.determinism, each.verification_window) for each in space.deployments()}
    assert found == {("none", None), ("verified", 32), ("verified", 64)}
