"""The calibrated roofline: laws that every class of devices keeps, and which algorithm sums over GPUs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator import catalog
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.collectives import algorithms, levels
from simulator.optime.efficiency import achieved, calibration_of
from simulator.optime.operators import AllReduce, AllToAll, Experts, Floats, Gemm, Memory, Operator, Transfer
from simulator.optime.sources.roofline import Roofline

RULE = catalog.engine("vllm-0.19").all_reduce
COUNTS = np.unique(np.concatenate([np.arange(1, 300), np.geomspace(300, 16384, 60).astype(np.int64)]))
KV = np.geomspace(1, 131072, 200)
MIB = 2**20


def seconds(operator: Operator, device: str) -> Floats:
    spec = catalog.device(device)
    priced = Roofline(spec, calibration_of(spec), RULE).price(operator)
    assert priced is not None
    return priced.seconds


def ones(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.full(len(KV), count, dtype=np.int64)


ZEROS = np.zeros_like(COUNTS)
OVER_TOKENS: tuple[Operator, ...] = (
    Gemm("qkv", COUNTS, 6144, 4096, "bfloat16"),
    Gemm("narrow", COUNTS, 768, 4096, "bfloat16", "int4"),
    Experts("experts", COUNTS, 2048, 768, 128, 16, 8, "bfloat16"),
    Experts("skewed", COUNTS, 2048, 768, 128, 16, 8, "bfloat16", load="power_law_1.2"),
    Memory("norm", COUNTS, 16384.0),
    PrefillAttention("alone", COUNTS, ZEROS, 32, 8, 128, "bfloat16"),
    PrefillAttention("after", COUNTS, ZEROS + 9000, 32, 8, 128, "bfloat16"),
    LatentPrefill("latent", COUNTS, ZEROS, 16, 192, 128, 576, "bfloat16"),
    DecodeAttention("decode", COUNTS, np.full(len(COUNTS), 1000.0), 32, 8, 128, "bfloat16"),
    DecodeAttention("beside", COUNTS, np.full(len(COUNTS), 1000.0), 32, 8, 128, "bfloat16", beside_chunk=True),
    LatentDecode("latent decode", COUNTS, np.full(len(COUNTS), 1000.0), 16, 576, 512, "bfloat16"),
    Transfer("send", COUNTS, 8192.0, 2),
    AllToAll("experts' rows", COUNTS, 8192.0, 4),
)
OVER_KV: tuple[Operator, ...] = (
    DecodeAttention("decode", ones(17), KV, 32, 8, 128, "bfloat16"),
    DecodeAttention("beside", ones(17), KV, 32, 8, 128, "bfloat16", beside_chunk=True),
    DecodeAttention("window", ones(17), KV, 32, 8, 128, "bfloat16", window=1024),
    LatentDecode("latent", ones(17), KV, 16, 576, 512, "bfloat16"),
    PrefillAttention("chunk", ones(512), KV.astype(np.int64), 32, 8, 128, "bfloat16"),
)


@pytest.mark.parametrize("device", catalog.names("devices"))
def test_more_work_never_takes_less_time(device: str) -> None:
    for operator in (*OVER_TOKENS, *OVER_KV):
        times = seconds(operator, device)
        assert np.all(np.diff(times) >= -1e-15), operator.name
        least = bound(operator, catalog.device(device))
        assert least is not None and np.all(times >= least), operator.name


@pytest.mark.parametrize("device", catalog.names("devices"))
def test_tensor_parallelism_shortens_large_gemms(device: str) -> None:
    for m in (1, 512, 8192):
        whole = Gemm("gate_up", np.array([m]), 28672, 8192, "bfloat16")
        times = [float(seconds(replace(whole, n=whole.n // tensor), device)[0]) for tensor in (1, 2, 4, 8)]
        assert np.all(np.diff(times) < 0)


def test_decodes_beside_a_chunk_take_longer_where_heads_are_not_packed() -> None:
    alone = DecodeAttention("decode", np.array([64]), np.array([1024.0]), 32, 8, 128, "bfloat16")
    beside = replace(alone, beside_chunk=True)
    assert seconds(beside, "RTX-4090")[0] > 1.2 * seconds(alone, "RTX-4090")[0]
    assert seconds(beside, "H100-SXM")[0] == seconds(alone, "H100-SXM")[0]


def test_a_device_of_no_class_is_priced_by_the_one_for_any() -> None:
    unknown = catalog.device("H100-SXM").model_copy(update={"architecture": "unheard-of"})
    assert not calibration_of(unknown).architectures
    operator = Gemm("g", np.array([64]), 4096, 4096, "bfloat16")
    assert achieved(operator, unknown, calibration_of(unknown)) is not None


def test_a_lower_peak_is_reached_to_a_larger_share() -> None:
    ada, geforce = catalog.device("L40S"), catalog.device("RTX-4090")
    calibration = calibration_of(geforce)
    assert calibration is calibration_of(ada)
    for rates in (calibration.gemm["bfloat16"], calibration.prefill):
        shares = [rates.share_of_peak(d.peak_flops_per_s["bfloat16"], d.sm_count) for d in (ada, geforce)]
        assert rates.compute == pytest.approx(shares[0], rel=1e-3) and shares[0] < shares[1] < 1


# Collectives


@pytest.mark.parametrize(
    ("device", "gpus", "size", "algorithm"),
    [
        ("A100-80G-SXM", 2, 4 * MIB, "one_shot"),
        ("A100-80G-SXM", 4, MIB // 4, "one_shot"),
        ("A100-80G-SXM", 8, MIB // 2, "two_shot"),
        ("A100-80G-SXM", 8, 8 * MIB, "nccl"),
        ("H100-SXM", 8, MIB // 8, "one_shot"),
        ("H100-SXM", 8, MIB // 2, "symmetric"),
        ("H100-SXM", 4, MIB, "two_shot"),
        ("H100-SXM", 8, 64 * MIB, "nccl"),
        ("L40S", 2, MIB, "one_shot"),
        ("L40S", 4, 2048, "nccl"),
        ("A100-80G-SXM", 3, 2048, "nccl"),
        ("H100-SXM", 16, 2048, "nccl"),
    ],
)
def test_vllm_sums_by_the_algorithm_of_its_rule(device: str, gpus: int, size: int, algorithm: str) -> None:
    operator = AllReduce("r", np.array([size]), 1.0, gpus, captured=True)
    assert algorithms(operator, catalog.device(device), RULE).tolist() == [algorithm]
    assert algorithms(operator, catalog.device(device), None).tolist() == ["nccl"]


def test_exchanges_go_over_the_fast_link_first() -> None:
    link = catalog.device("A40").link
    assert [(level.link, level.peers, level.share) for level in levels(link, 4) or []] == [("nvlink", 2, 1.0), ("pcie", 2, 0.5)]
    assert levels(link, 1) == []
    assert levels(link, 16) is None


def test_an_all_reduce_grows_with_its_message_and_costs_a_copy_outside_of_graphs() -> None:
    sizes = np.geomspace(1024, 2**28, 100).astype(np.int64)
    for device in ("A100-80G-SXM", "H100-SXM", "L40S"):
        for gpus in (2, 4, 8):
            nccl = AllReduce("r", sizes, 1.0, gpus)
            plain = Roofline(catalog.device(device), calibration_of(catalog.device(device))).price(nccl)
            assert plain is not None and np.all(np.diff(plain.seconds) > 0)
    small = AllReduce("r", np.array([65536]), 1.0, 4, captured=True)
    assert seconds(small, "H100-SXM") < seconds(replace(small, captured=False), "H100-SXM")
