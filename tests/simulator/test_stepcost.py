"""The price list: what an iteration costs, read as the kernel reads it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.kernel.pricelist import DECODE_ONLY, KV_STEP, MIXED, PREFILL_ONLY, PriceList
from simulator.memory import stages
from simulator.optime.sources import _aiconfigurator_tables as tables
from simulator.spec.engine import Overheads
from simulator.stepcost import price_list, price_list_of
from tests.deployed import FIELDS, resolved

MODEL = catalog.model(FIELDS["model"])
# The data sheet itself: what follows from the shapes alone can be told by hand.
ROOFLINE = ({"source": "roofline", "ideal": True},)
CALIBRATED = ({"source": "roofline"},)
with_tables = pytest.mark.skipif(tables.systems_folder() is None, reason=f"{tables.PACKAGE}=={tables.VERSION} is not installed")


def prices(profiles: Any = ROOFLINE, **fields: Any) -> PriceList:
    return price_list(resolved(**fields), profiles)[0]


def bilinear(rows: Any, columns: Any, table: Any, row: float, column: float) -> float:
    return float(np.interp(row, rows, [np.interp(column, columns, line) for line in table]))


def iteration_s(
    costs: PriceList, decodes: int = 0, kv_mean: float = 0.0, chunks: tuple[tuple[int, int], ...] = (), sampled: int | None = None
) -> float:
    """Returns the seconds of an iteration of decodes and of chunks (tokens, KV before), by the price list's own formula."""
    tokens = decodes + sum(chunk for chunk, _ in chunks)
    kind = MIXED if decodes and chunks else PREFILL_ONLY if chunks else DECODE_ONLY
    attention = sum(bilinear(costs.prefill_chunk, costs.prefill_kv, costs.prefill_s, *chunk) for chunk in chunks)
    if decodes:
        attention += bilinear(costs.decode_batch, costs.decode_kv, costs.decode_s, decodes, kv_mean)
    count = decodes + len(chunks) if sampled is None else sampled
    work = costs.token_s[kind, tokens] + attention + costs.sample_s[count]
    return float(max(work, costs.floor_s[kind]) + costs.extra_s[kind])


# Whole iterations


@pytest.mark.parametrize("async_scheduling", [True, False])
def test_linear_prices_come_back_exactly(async_scheduling: bool) -> None:
    base, token, kv = 3.1e-3, 7.7e-6, 1.3e-8
    profiles = ({"source": "linear", "base_s": base, "per_token_s": token, "per_kv_token_s": kv},)
    deployment = resolved(async_scheduling=async_scheduling, max_num_seqs=200, max_model_len=8000, max_num_batched_tokens=1000)
    costs, provenance = price_list(deployment, profiles)
    generator = np.random.default_rng(1)
    for _ in range(200):
        decodes, mean = int(generator.integers(1, 200)), float(generator.uniform(1, 8000))
        chunk, before = int(generator.integers(1, 800)), int(generator.integers(0, 7000))
        for chunks in ((), ((chunk, before),)):
            tokens = decodes + sum(c for c, _ in chunks)
            expected = base + token * tokens + kv * (decodes * mean + sum(c + b for c, b in chunks))
            assert iteration_s(costs, decodes, mean, chunks) == pytest.approx(expected, abs=1e-12)
        alone = iteration_s(costs, chunks=((chunk, before),), sampled=0)
        assert alone == pytest.approx(base + token * chunk + kv * (chunk + before), abs=1e-12)
    assert provenance.operators["iteration"].source == "linear"


# The list


@pytest.mark.parametrize(("seqs", "tokens", "length"), [(1, 1, 64), (1, 2048, 100), (7, 7, 4097), (1024, 16384, 131072)])
def test_knots_span_every_iteration(seqs: int, tokens: int, length: int) -> None:
    for profiles in (ROOFLINE, ({"source": "linear"},)):
        costs = prices(profiles, max_num_seqs=seqs, max_num_batched_tokens=tokens, max_model_len=length)
        assert costs.token_s.shape == (3, tokens + 1)
        assert costs.sample_s.shape == (seqs + 1,)
        for knots, first, last in (
            (costs.decode_batch, 1, seqs),
            (costs.prefill_chunk, 1, tokens),
            (costs.decode_kv, 0, length),
            (costs.prefill_kv, 0, length),
        ):
            assert knots[0] == first and knots[-1] >= last and len(knots) >= 2
            assert np.all(np.diff(knots) > 0)
        assert not np.any(costs.decode_kv % KV_STEP) and not np.any(costs.prefill_kv % KV_STEP)
        assert costs.decode_s.shape == (len(costs.decode_batch), len(costs.decode_kv))
        assert costs.prefill_s.shape == (len(costs.prefill_chunk), len(costs.prefill_kv))


def test_utilisation_counts_the_gpus_of_a_replica() -> None:
    one, two = prices(), prices(tensor_parallel_size=2)
    assert one.flops_per_token == two.flops_per_token == 32 * catalog.model(FIELDS["model"]).layer_flops_per_token()
    assert two.peak_flops_per_s == 2 * (one.peak_flops_per_s or 0)


def test_a_decode_step_of_the_roofline_reads_weights_and_kv() -> None:
    model, device = catalog.model(FIELDS["model"]), catalog.device(FIELDS["device"])
    layers_and_head = 2 * (model.parameters - model.embedding_parameters)
    kv = 64 * 2048 * 2 * model.kv_size * 2 * model.num_hidden_layers
    least = (layers_and_head + kv) / device.memory_bandwidth_bytes_per_s
    # Beside these: activations, KV written, logits sampled.
    assert least < iteration_s(prices(), 64, 2048) < 1.06 * least


def test_a_prompt_in_chunks_costs_little_more_than_whole() -> None:
    costs = prices(cudagraph_mode="NONE")
    whole = iteration_s(costs, chunks=((2048, 0),))
    halves = iteration_s(costs, chunks=((1024, 0),)) + iteration_s(costs, chunks=((1024, 1024),))
    assert whole < halves < 1.1 * whole


def test_chunk_lengths_between_knots_are_near_their_own_price() -> None:
    costs = prices(max_num_batched_tokens=8192)
    finer = prices(max_num_batched_tokens=7777)
    for kv in (0, 1024, 8192):
        exact = bilinear(finer.prefill_chunk, finer.prefill_kv, finer.prefill_s, 7777, kv)
        assert bilinear(costs.prefill_chunk, costs.prefill_kv, costs.prefill_s, 7777, kv) == pytest.approx(exact, rel=0.005)


def test_more_gpus_shorten_a_step_and_do_not_halve_it() -> None:
    for decodes, chunks in ((64, ()), (0, ((2048, 0),))):
        one = iteration_s(prices(), decodes, 1024, chunks)
        two = iteration_s(prices(tensor_parallel_size=2), decodes, 1024, chunks)
        assert one / 2 < two < one


# Pipelines


def stage_s(costs: PriceList, stage: int, decodes: int, kv_mean: float) -> float:
    """Returns the seconds of a decode step on one stage, by the price list's own formula."""
    share = costs.stage_share[stage]
    layers = costs.token_s[DECODE_ONLY, decodes] + bilinear(costs.decode_batch, costs.decode_kv, costs.decode_s, decodes, kv_mean)
    work = share * layers + costs.stage_token_s[stage, decodes]
    if stage == len(costs.stage_share) - 1:
        work += costs.sample_s[decodes]
    return float(max(work, share * costs.floor_s[DECODE_ONLY]) + costs.extra_s[DECODE_ONLY])


def test_stages_and_what_they_send_make_the_whole() -> None:
    whole = prices()
    for pipeline in (2, 3, 4):
        costs = prices(pipeline_parallel_size=pipeline)
        device, model = catalog.device(FIELDS["device"]), catalog.model(FIELDS["model"])
        sent = (pipeline - 1) * 64 * 2 * model.hidden_size / (device.link.bandwidth(pipeline) or math.nan)
        stages = sum(stage_s(costs, stage, 64, 2048) for stage in range(pipeline))
        assert stages == pytest.approx(iteration_s(whole, 64, 2048) + sent, rel=1e-9)


def test_layers_are_shared_as_vllm_places_them_or_as_told() -> None:
    def layers(**fields: Any) -> list[int]:
        return [round(32 * share) for share in prices(**fields).stage_share]

    assert layers(pipeline_parallel_size=3) == [stage.layers for stage in stages(MODEL, resolved(pipeline_parallel_size=3))]
    assert layers(pipeline_parallel_size=3) == [11, 11, 10]
    assert layers(pipeline_parallel_size=2, pp_layer_partition=(20, 12)) == [20, 12]


def test_the_embedding_is_on_the_first_stage_and_all_but_the_last_send() -> None:
    costs = prices(pipeline_parallel_size=2)
    model, device = catalog.model(FIELDS["model"]), catalog.device(FIELDS["device"])
    tokens = np.array([1, 100, 2048])
    row = 2 * model.hidden_size
    sent = tokens * row / (device.link.bandwidth(2) or math.nan)
    embedded = tokens * 2 * row / device.memory_bandwidth_bytes_per_s
    normed = tokens * 4 * row / device.memory_bandwidth_bytes_per_s
    assert costs.stage_token_s[0, tokens] == pytest.approx(sent + embedded)
    assert costs.stage_token_s[1, tokens] == pytest.approx(normed)
    assert not costs.stage_token_s[:, 0].any()


def test_an_engine_alone_is_one_stage_without_anything_beside_its_layers() -> None:
    assert prices().stage_share.tolist() == [1.0] and not prices().stage_token_s.any()


def test_bandwidth_use_counts_all_weights_but_the_embedding_and_all_kv() -> None:
    model = catalog.model(FIELDS["model"])
    for fields in ({}, {"pipeline_parallel_size": 2}, {"tensor_parallel_size": 2}):
        costs = prices(**fields)
        gpus = fields.get("pipeline_parallel_size", 1) * fields.get("tensor_parallel_size", 1)
        assert costs.weight_bytes == pytest.approx(2 * (model.parameters - model.embedding_parameters), rel=0.01)
        assert costs.kv_bytes_per_token == 2 * model.kv_size * 2 * model.num_hidden_layers
        assert costs.peak_bytes_per_s == gpus * catalog.device(FIELDS["device"]).memory_bandwidth_bytes_per_s


def test_the_engines_of_a_data_parallel_replica_are_priced_one_by_one() -> None:
    one, two = prices(), prices(data_parallel_size=2)
    assert np.array_equal(one.token_s, two.token_s)
    assert one.peak_flops_per_s == two.peak_flops_per_s


def test_without_a_token_budget_steps_are_priced_to_a_prompt_in_every_slot() -> None:
    assert prices(scheduler="orca", max_num_seqs=4, max_model_len=1000).token_s.shape[1] == 4001
    assert prices(scheduler="vllm_v0", max_num_seqs=4, max_model_len=1000).token_s.shape[1] == 2049


# CUDA graphs and the host


def test_full_graphs_pad_decodes_only() -> None:
    costs, eager = prices(cudagraph_mode="FULL_DECODE_ONLY"), prices(cudagraph_mode="NONE")
    assert costs.token_s[DECODE_ONLY, 9] == costs.token_s[DECODE_ONLY, 16] > eager.token_s[DECODE_ONLY, 9]
    assert np.array_equal(costs.token_s[PREFILL_ONLY:], eager.token_s[PREFILL_ONLY:])
    assert costs.decode_s.tolist() == eager.decode_s.tolist()


def test_piecewise_graphs_pad_all_up_to_the_largest_captured_size() -> None:
    costs, eager = prices(cudagraph_mode="PIECEWISE"), prices(cudagraph_mode="NONE")
    for kind in (DECODE_ONLY, PREFILL_ONLY, MIXED):
        assert costs.token_s[kind, 505] == costs.token_s[kind, 512] > eager.token_s[kind, 505]
        assert np.array_equal(costs.token_s[kind, 513:], eager.token_s[kind, 513:])


def test_launches_and_host_steps_bound_an_iteration_from_below() -> None:
    engine = catalog.engine(FIELDS["engine"])
    slow = Overheads.parse({"graph_launch_s": 1e-4, "piecewise_layer_s": 1e-3, "eager_layer_s": 1e-2, "host_step_s": 5e-3})
    slow_engine = engine.model_copy(update={"overheads": slow})
    model, device = catalog.model(FIELDS["model"]), catalog.device(FIELDS["device"])

    def step_s(**fields: Any) -> float:
        costs, provenance = price_list_of(resolved(**fields), model, device, slow_engine, ROOFLINE)
        assert not provenance.absent
        return iteration_s(costs, 1, 128)

    assert step_s(cudagraph_mode="NONE") == pytest.approx(32 * 1e-2 + 5e-3)
    assert step_s() == pytest.approx(max(iteration_s(prices(), 1, 128), 5e-3 + 1e-4))
    assert step_s(async_scheduling=False) == pytest.approx(iteration_s(prices(), 1, 128) + 5e-3)


def test_what_nobody_measured_is_reported() -> None:
    silent = catalog.engine(FIELDS["engine"]).model_copy(update={"overheads": Overheads()})
    model, device = catalog.model(FIELDS["model"]), catalog.device(FIELDS["device"])
    assert "host_step" in price_list_of(resolved(), model, device, silent, ROOFLINE)[1].absent


# What cannot be priced


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tensor_parallel_size": 3}, r"deployment\.tensor_parallel_size: 3"),
        ({"model": "meta-llama/Llama-3.1-9B"}, r"deployment\.model: .*Llama-3\.1-8B"),
        ({"device": "H200"}, r"deployment\.device: .*H200-SXM"),
    ],
)
def test_a_deployment_that_cannot_be_priced_is_refused_in_one_line(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        price_list(resolved(**fields))
    assert "\n" not in str(caught.value)


# Measured tables


@with_tables
@pytest.mark.parametrize(("decodes", "package_ms"), [(1, 4.861), (32, 6.315), (128, 9.936)])
def test_decode_steps_compose_like_the_package(decodes: int, package_ms: float) -> None:
    # The package's own sum leaves out rotary embedding and KV write of a decode: two kernels of 3 microseconds a layer.
    own = iteration_s(prices(None), decodes, 1024)
    assert own == pytest.approx(package_ms * 1e-3, rel=0.05)
    assert own == pytest.approx(package_ms * 1e-3 + 32 * 2 * 3e-6, rel=0.02)


@with_tables
def test_a_prefill_composes_like_the_package() -> None:
    assert iteration_s(prices(None), chunks=((2048, 0),)) == pytest.approx(43.40e-3, rel=0.04)


@with_tables
def test_chunks_of_one_iteration_share_a_kernel() -> None:
    costs = prices(None)
    four = iteration_s(costs, chunks=((512, 0),) * 4) - float(costs.token_s[PREFILL_ONLY, 2048])
    one = iteration_s(costs, chunks=((512, 0),)) - float(costs.token_s[PREFILL_ONLY, 512])
    assert four < 4 * one + 1e-4
    # Measured, 32 layers of four prompts of 512 in one call: 0.05014 ms, of which the token part holds the call's 0.01168.
    attention = 4 * bilinear(costs.prefill_chunk, costs.prefill_kv, costs.prefill_s, 512, 0)
    assert attention == pytest.approx(32 * (0.05014 - 0.01168) * 1e-3, rel=0.06)


@with_tables
def test_the_default_order_measures_what_it_can_and_says_so() -> None:
    operators = price_list(resolved(tensor_parallel_size=2))[1].operators
    assert operators["qkv_proj"].source == "aiconfigurator"
    assert operators["qkv_proj"].versions == {"aiconfigurator-core": "0.12.0", "vllm": "0.24.0"}
    assert operators["mlp_all_reduce"].source == "aiconfigurator"
    assert price_list(resolved(device="A100-40G-SXM"))[1].operators["qkv_proj"].source == "roofline"


@pytest.mark.parametrize("profiles", [ROOFLINE, None])
def test_a_price_list_takes_milliseconds(profiles: Any) -> None:
    deployment = resolved(tensor_parallel_size=2, max_num_batched_tokens=8192, max_num_seqs=1024, max_model_len=131072)
    price_list(deployment, profiles)
    spent = []
    for _ in range(3):
        start = time.process_time()
        price_list(deployment, profiles)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05
