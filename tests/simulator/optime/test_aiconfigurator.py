"""The tables of AIConfigurator: their values on the grid, its own worked examples, and bounds between the points."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simulator import catalog
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.families import Shard, llama
from simulator.optime.operators import AllGather, AllReduce, Experts, Gemm, Memory, Operator
from simulator.optime.provenance import EXTRAPOLATED, INTERPOLATED, KINDS, MEASURED, Priced
from simulator.optime.sources import Context
from simulator.optime.sources import _aiconfigurator_tables as tables
from simulator.optime.sources.aiconfigurator import AIConfigurator, Settings, open_source
from simulator.spec.device import Dtype

pytestmark = pytest.mark.skipif(tables.systems_folder() is None, reason=f"{tables.PACKAGE}=={tables.VERSION} is not installed")
Make = Callable[..., Context]


@pytest.fixture(params=sorted(set(tables.SYSTEMS) & set(catalog.names("devices"))))
def device_name(request: pytest.FixtureRequest) -> str:
    """Returns each device that the source knows, in turn."""
    return str(request.param)


@pytest.fixture
def h200(context: Make) -> AIConfigurator:
    """Returns the source for the H200."""
    return open_source(Settings(), context(), "profiles.0")


def price(source: AIConfigurator, operator: Operator) -> Priced:
    priced = source.price(operator)
    assert priced is not None
    return priced


def ms(source: AIConfigurator, operator: Operator) -> float:
    return float(price(source, operator).seconds[0] * 1e3)


def gemm(m: int, n: int = 6144, k: int = 4096) -> Gemm:
    return Gemm("g", np.array([m]), n, k, "bfloat16")


def prefill(chunk: int, kv: int = 0, heads: int = 32, kv_heads: int = 8) -> PrefillAttention:
    return PrefillAttention("p", np.array([chunk]), np.array([kv]), heads, kv_heads, 128, "bfloat16")


def decode(batch: int, kv: float, heads: int = 32, kv_heads: int = 8) -> DecodeAttention:
    return DecodeAttention("d", np.array([batch]), np.array([kv]), heads, kv_heads, 128, "bfloat16")


# Expected: what `aiconfigurator_core` 0.12.0 itself answers for h200_sxm, vllm 0.24.0.


def test_worked_examples_of_the_package(h200: AIConfigurator) -> None:
    assert ms(h200, gemm(1024)) == pytest.approx(0.06479, rel=0.02)
    assert ms(h200, decode(64, 1536)) == pytest.approx(0.11025, rel=0.02)
    assert ms(h200, AllReduce("r", np.array([64]), 16384, 8, captured=True)) == pytest.approx(0.01407, rel=0.02)


def test_prefill_attention_of_the_package_includes_rope_and_kv_write(h200: AIConfigurator) -> None:
    shard = Shard(catalog.model("meta-llama/Llama-3.1-8B"), 1, "bfloat16")
    beside = [o for o in llama.token_operators(shard, np.array([1024]), True) if o.name in ("rope", "kv_write")]
    assert ms(h200, prefill(1024)) == pytest.approx(0.03526, rel=0.001)
    assert ms(h200, prefill(1024)) + sum(ms(h200, o) for o in beside) == pytest.approx(0.04847, rel=0.02)


def test_a_cached_prefix_takes_the_works_share_of_the_whole_prompt(h200: AIConfigurator) -> None:
    # 512 tokens after 7,680: the package says 0.12683 ms, of which 0.01321 are its rotary embedding and KV write.
    assert ms(h200, prefill(512, 7680)) == pytest.approx(0.12683 - 0.01321, rel=0.02)
    assert ms(h200, prefill(64, 8000)) == pytest.approx(0.02759 - 0.01321, rel=0.02)
    assert KINDS[price(h200, prefill(512, 7680)).kinds[0]] == "extrapolated"


def test_shapes_between_the_measured_ones_follow_the_package(h200: AIConfigurator) -> None:
    for (m, n, k), expected in {
        (1, 28672, 4096): 0.05981,
        (128, 28672, 4096): 0.06780,
        (2048, 28672, 4096): 0.64819,
        (32, 4096, 14336): 0.03363,
        (2048, 4096, 14336): 0.29270,
        (32, 128256, 4096): 0.28255,
        (1024, 128256, 4096): 1.42818,
    }.items():
        assert ms(h200, gemm(m, n, k)) == pytest.approx(expected, rel=0.07), (m, n, k)


def test_the_grid_gives_the_tables_values_back(h200: AIConfigurator) -> None:
    table = tables.read(tables.Place("h200_sxm", "vllm", "0.19.0"), "gemm", "gemm", ("n", "k", "m"), gemm_dtype="bfloat16")
    assert table is not None
    rows = table.where(n=6144, k=4096)
    priced = price(h200, Gemm("g", rows.columns["m"], 6144, 4096, "bfloat16"))
    assert priced.seconds == pytest.approx(rows.seconds, rel=1e-12)
    assert set(priced.kinds.tolist()) == {MEASURED}


def test_kinds_say_how_far_a_point_is_from_a_measurement(h200: AIConfigurator) -> None:
    assert price(h200, gemm(1000)).kinds.tolist() == [INTERPOLATED]
    assert price(h200, gemm(1024, k=4000)).kinds.tolist() == [INTERPOLATED]
    assert price(h200, gemm(100_000)).kinds.tolist() == [EXTRAPOLATED]
    assert price(h200, gemm(1024, n=128_256)).kinds.tolist() == [EXTRAPOLATED]
    half = Gemm("g", np.array([1024]), 6144, 4096, "float16")
    assert price(h200, half).kinds.tolist() == [INTERPOLATED]
    assert price(h200, half).seconds == pytest.approx(price(h200, gemm(1024)).seconds)


def test_what_the_tables_lack_goes_to_the_next_source(h200: AIConfigurator) -> None:
    assert h200.price(AllReduce("r", np.array([64]), 16384, 16)) is None
    assert h200.price(Gemm("g", np.array([64]), 4096, 4096, "nvfp4")) is None
    assert h200.price(PrefillAttention("p", np.array([64]), np.array([0]), 32, 8, 128, "fp8")) is None


def test_versions_name_the_software_that_was_measured(h200: AIConfigurator) -> None:
    assert h200.versions(gemm(1)) == {"aiconfigurator-core": "0.12.0", "vllm": "0.24.0"}
    assert h200.versions(AllGather("g", np.array([1]), 256512, 8)) == {"aiconfigurator-core": "0.12.0", "nccl": "2.29.2"}
    assert h200.versions(Memory("norm", np.array([1]), 2)) == {"aiconfigurator-core": "0.12.0"}


def test_nothing_is_faster_than_the_roofline(device_name: str, context: Make) -> None:
    here = context(device=device_name)
    source, generator = open_source(Settings(), here, "profiles.0"), np.random.default_rng(0)
    tokens = np.unique(generator.integers(1, 20_000, 300))
    kv = generator.integers(0, 100_000, len(tokens))
    for size in (1, 2, 8):
        shard = Shard(here.model, size, "bfloat16")
        operators = [*llama.token_operators(shard, tokens, False), *llama.sampled_operators(shard, tokens)]
        operators += [
            *llama.prefill_operators(shard, tokens, kv),
            *llama.decode_operators(shard, tokens % 600 + 1, kv.astype(np.float64) + 1),
        ]
        for operator in operators:
            least = bound(operator, here.device)
            assert least is not None
            if isinstance(operator, AllReduce | AllGather) and here.device.link.nvlink_island > 8:
                continue  # no table of collectives within a rack: the next source prices them
            assert np.all(price(source, operator).seconds >= least * (1 - 1e-9)), (operator.name, size)


def test_more_work_takes_longer(device_name: str, context: Make) -> None:
    # Neighbouring points scatter by a few percent; eight times the work never hides in that.
    source = open_source(Settings(), context(device=device_name), "profiles.0")
    for small, large in (
        (gemm(512), gemm(4096)),
        (gemm(64, n=6144), gemm(64, n=49152)),
        (prefill(512), prefill(4096)),
        (prefill(512, 0), prefill(512, 16_384)),
        (decode(32, 1024), decode(256, 1024)),
        (decode(32, 1024), decode(32, 8192)),
    ):
        assert ms(source, large) > 1.5 * ms(source, small)


def test_a_chunk_after_cached_tokens_is_not_faster_than_alone(device_name: str, context: Make) -> None:
    source = open_source(Settings(), context(device=device_name), "profiles.0")
    chunk = np.array([1, 16, 100, 512, 2048])
    alone = PrefillAttention("p", chunk, np.zeros_like(chunk), 32, 8, 128, "bfloat16")
    after = PrefillAttention("p", chunk, chunk * 4, 32, 8, 128, "bfloat16")
    assert np.all(price(source, after).seconds >= price(source, alone).seconds)


def test_heads_that_were_not_measured_scale_like_a_batch(h200: AIConfigurator) -> None:
    # Measured: 8 query and 2 KV heads. Four times the heads are four times the blocks.
    for batch, kv in ((1, 4096), (16, 1024), (64, 1024), (128, 128)):
        scaled = ms(h200, decode(4 * batch, kv, heads=8, kv_heads=2))
        assert scaled == pytest.approx(ms(h200, decode(batch, kv)), rel=0.25)
    # 32 and 32 heads were not measured: 8 and 8 were, and a batch four times as large has as many blocks and bytes.
    mapped = price(h200, decode(4, 1024, heads=32, kv_heads=32))
    assert mapped.seconds == pytest.approx(price(h200, decode(16, 1024, heads=8, kv_heads=8)).seconds)
    assert mapped.kinds.tolist() == [EXTRAPOLATED]
    # 28 and 4 heads were not measured: as many blocks as 32 and 4.
    assert ms(h200, decode(64, 2048, heads=28, kv_heads=4)) == pytest.approx(ms(h200, decode(64, 2048, 32, 4)), rel=0.15)
    assert price(h200, decode(64, 2048, heads=28, kv_heads=4)).kinds.tolist() == [EXTRAPOLATED]


def test_opening_a_device_is_quick_and_does_not_import_the_package(device_name: str, context: Make) -> None:
    tables.read.cache_clear()
    start = time.process_time()
    source = open_source(Settings(), context(device=device_name), "profiles.0")
    for operator in (gemm(1), prefill(1), decode(1, 1.0), AllReduce("r", np.array([1]), 8192, 2)):
        source.price(operator)
    assert time.process_time() - start < 1.0
    assert "aiconfigurator_core" not in sys.modules


# Other engines, experts, latent attention, weights of fewer bits


def engine_source(software: str, device: str = "H200-SXM", block_scaled: bool = False) -> AIConfigurator:
    place = tables.Place(tables.SYSTEMS[device], software, tables.NEWEST)
    return AIConfigurator(place, catalog.device(device), block_scaled)


def experts(rows: int, local: int = 256, load: str = "balanced", inner: int = 2048) -> Experts:
    return Experts("e", np.array([rows]), 7168, inner, 256, local, 8, "fp8", load=load)


@pytest.mark.parametrize("software", sorted(tables.SOFTWARE.values()))
def test_each_engine_has_tables_of_its_own(software: str) -> None:
    source = engine_source(software)
    assert software in source.versions(gemm(1024))
    assert software in source.versions(prefill(1024)) and software in source.versions(decode(8, 1024))
    assert ms(source, gemm(1024)) == pytest.approx(ms(engine_source("vllm"), gemm(1024)), rel=0.3)


def test_the_nearest_version_with_the_rows_is_read() -> None:
    def version(wanted: str) -> str:
        found = tables.read(
            tables.Place("h200_sxm", "vllm", wanted), "comm", "custom_allreduce", ("num_gpus", "message_size"), backend="vllm_graph"
        )
        assert found is not None
        return found.version

    assert [version(wanted) for wanted in ("0.12.0", "0.19.1", "0.30", tables.NEWEST)] == ["0.14.0", "0.19.0", "0.24.0", "0.24.0"]


def test_experts_are_shared_by_the_gpus_that_hold_them() -> None:
    source = engine_source("sglang", block_scaled=True)
    whole, spread, sliced = experts(4096), experts(4096, local=32), experts(4096, inner=256)
    assert price(source, whole).kinds.tolist() == [MEASURED]
    assert ms(source, whole) > 1.5 * ms(source, spread)
    assert ms(source, whole) > 4 * ms(source, sliced)
    assert ms(source, experts(4096, load="power_law_1.2")) > ms(source, whole)


def test_latent_attention_follows_heads_and_kv() -> None:
    def latent(heads: int, kv: int) -> float:
        operator = LatentDecode("d", np.array([64]), np.array([float(kv)]), heads, 576, 512, "bfloat16")
        return ms(engine_source("sglang"), operator)

    assert latent(16, 8192) > 4 * latent(16, 1024)
    assert latent(128, 8192) > latent(16, 8192)
    chunk = LatentPrefill("p", np.array([4096]), np.array([0]), 16, 192, 128, 576, "bfloat16")
    alone, after = engine_source("sglang").price(chunk), engine_source("sglang").price(replace(chunk, kv_before=np.array([4096])))
    assert alone is not None and after is not None
    assert float(after.seconds[0]) > 2 * float(alone.seconds[0])


def test_fewer_bits_take_less_time() -> None:
    def narrow(dtype: Dtype) -> Gemm:
        return Gemm("g", np.array([4096]), 8192, 8192, dtype)

    blackwell = engine_source("vllm", "B200-SXM")
    assert ms(blackwell, narrow("nvfp4")) < ms(blackwell, narrow("fp8")) < ms(blackwell, narrow("bfloat16"))
    plain, cached = decode(64, 8192), replace(decode(64, 8192), kv_dtype="fp8")
    assert ms(blackwell, cached) < ms(blackwell, plain)


def test_a_window_bounds_the_work_of_decodes() -> None:
    source = engine_source("vllm")
    assert ms(source, replace(decode(64, 16384), window=1024)) < 0.3 * ms(source, decode(64, 16384))
