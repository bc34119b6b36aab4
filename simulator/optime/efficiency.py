"""The calibrated roofline: the bound's FLOPs and bytes, padded as kernels pad them, at the rates that kernels achieve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator import catalog
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.operators import Experts, Floats, Gemm, Ints, Memory, Operator
from simulator.spec.calibration import Calibration, Rates
from simulator.spec.device import Device, Dtype

# What stands for devices that no class has.
ANY = "any"
# Rows and columns of the output that one block computes, and the share of its rate that so small a block reaches.
TILES = ((256, 128, 1.0), (128, 128, 0.95), (64, 64, 0.7))
# Attention computes blocks of queries by blocks of keys; a decode fills the rows of its block with the heads of one KV head.
QUERY_TILE, DECODE_ROWS, KEY_TILE = 64, 64, 64
# Rows of an expert are padded to a block of 32: half a block is lost at an expert on average.
LOST_ROWS = 16
DEFAULT_SMS = 108


def calibration_of(device: Device) -> Calibration:
    """Returns the calibration of the device's class, or the one for any device."""
    for name in catalog.names("calibration"):
        if (calibration := catalog.calibration(name)).applies(device):
            return calibration
    return catalog.calibration(ANY)


def rates_of(calibration: Calibration, operator: Operator) -> Rates | None:
    """Returns the rates of the operator's kind, or None for one without any."""
    if isinstance(operator, Gemm):
        return _by_dtype(calibration.gemm, operator.dtype)
    if isinstance(operator, Experts):
        return _by_dtype(calibration.experts, operator.dtype)
    if isinstance(operator, PrefillAttention | LatentPrefill):
        return calibration.prefill
    if isinstance(operator, DecodeAttention):
        return calibration.decode
    if isinstance(operator, LatentDecode):
        return calibration.latent_decode
    return calibration.memory if isinstance(operator, Memory) else None


def achieved(operator: Operator, device: Device, calibration: Calibration) -> Floats | None:
    """Returns the seconds of every point of a kernel on one GPU, or None without a rate for its kind or data type."""
    rates = rates_of(calibration, operator)
    peak = None if isinstance(operator, Memory) else device.peak_flops_per_s.get(getattr(operator, "dtype", "bfloat16"))
    if rates is None or (peak is None and not isinstance(operator, Memory)):
        return None
    seconds = seconds_of(operator, rates, peak, device)
    if isinstance(operator, Experts) and operator.load != "balanced":
        seconds = seconds * load_factor(calibration, operator)
    return seconds


def seconds_of(operator: Operator, rates: Rates, peak: float | None, device: Device) -> Floats:
    """Returns the seconds of every point by the formula of Rates."""
    sms, moved = device.sm_count or DEFAULT_SMS, _bytes(operator)
    memory = moved / (rates.bandwidth * device.memory_bandwidth_bytes_per_s)
    compute = np.zeros(moved.shape) if peak is None else compute_seconds(operator, rates, peak, device)
    fixed = rates.latency_s + ramp(moved, rates.ramp_bytes, device) + rates.unit_s * units(operator) / sms
    return fixed + p_norm(memory, compute, rates.sharpness)


def ramp(moved: Floats, ramp_bytes: float, device: Device) -> Floats:
    """Returns what a transfer takes beyond its bytes at full rate: at most `ramp_bytes` over the memory's bandwidth."""
    if ramp_bytes == 0:
        return np.zeros(moved.shape)
    return ramp_bytes / device.memory_bandwidth_bytes_per_s * -np.expm1(-moved / ramp_bytes)


def p_norm(left: Floats, right: Floats, power: float) -> Floats:
    """Returns (left^p + right^p)^(1/p), scaled so that nothing overflows."""
    most = np.maximum(np.maximum(left, right), 1e-30)
    total: Floats = most * ((left / most) ** power + (right / most) ** power) ** (1.0 / power)
    return total


def compute_seconds(operator: Operator, rates: Rates, peak: float, device: Device) -> Floats:
    """Returns the seconds that the operator's blocks compute; of a GEMM with tiles of the shape that takes least."""
    sms = device.sm_count or DEFAULT_SMS
    if not isinstance(operator, Gemm):
        return padded_flops(operator, sms, rates.packs_heads) / (rates.share_of_peak(peak, device.sm_count) * peak)
    least = np.full(operator.m.shape, np.inf)
    for rows, columns, part in TILES:
        waves = np.ceil(np.ceil(operator.m / rows) * np.ceil(operator.n / columns) / sms)
        flops = waves * sms * 2.0 * rows * columns * operator.k
        least = np.minimum(least, flops / (rates.share_of_peak(peak, device.sm_count, part) * peak))
    return least


def padded_flops(operator: Operator, sms: int, packs: bool = True) -> Floats:
    """Returns the FLOPs that an attention's or an MLP's blocks do, SMs that wait for the longest block counted as busy."""
    if isinstance(operator, PrefillAttention | LatentPrefill):
        return _causal(operator, sms, packs)
    if isinstance(operator, DecodeAttention):
        keys = _up(operator.keys, KEY_TILE)
        every: Floats = 4.0 * _decode_rows(operator, packs) * operator.head_dim * operator.batch * keys
        if packs or not operator.beside_chunk:
            return every
        # The KV of a sequence is not split: one block on each SM is the least.
        longest: Floats = 4.0 * DECODE_ROWS * operator.head_dim * keys * sms
        return np.maximum(every, longest)
    if isinstance(operator, LatentDecode):
        rows = np.ceil(operator.heads / DECODE_ROWS) * DECODE_ROWS
        latent: Floats = 2.0 * rows * (operator.latent_dim + operator.v_dim) * operator.batch * _up(operator.kv_mean, KEY_TILE)
        return latent
    if isinstance(operator, Experts):
        return 2.0 * operator.expert_elements * (operator.assigned + LOST_ROWS * operator.activated)
    return np.zeros(operator.tokens.shape)


def _decode_rows(operator: DecodeAttention, packs: bool) -> Floats | float:
    """Returns the rows of a sequence's blocks: the heads of a KV head fill one, padded.

    Beside a chunk the kernel for prompts serves all: blocks of queries, one for each head unless it packs those of a KV head.
    """
    if operator.beside_chunk and not packs:
        return float(DECODE_ROWS * operator.heads)
    rows: Floats = np.ceil(operator.heads / operator.kv_heads / DECODE_ROWS) * DECODE_ROWS * operator.kv_heads
    return rows


def units(operator: Operator) -> Floats:
    """Returns the blocks that must be started whatever they do: a KV head of a sequence in a decode, else none."""
    if isinstance(operator, DecodeAttention):
        return operator.batch.astype(np.float64) * operator.kv_heads
    if isinstance(operator, LatentDecode):
        return operator.batch.astype(np.float64)
    return np.zeros(operator.tokens.shape)


def load_factor(calibration: Calibration, operator: Experts) -> float:
    """Returns how much longer the busiest GPU takes under the operator's load; 1 for a load that was not measured."""
    by_gpus = calibration.expert_load.get(operator.load)
    if not by_gpus:
        return 1.0
    gpus = operator.experts / operator.local_experts
    return by_gpus[min(by_gpus, key=lambda n: abs(np.log(n / gpus)))]


def _by_dtype(rates: dict[Dtype, Rates], dtype: Dtype) -> Rates:
    known = {"float16": "bfloat16", "int8": "fp8", "mxfp4": "nvfp4"}
    return rates.get(dtype) or rates.get(known.get(dtype, "bfloat16")) or rates["bfloat16"]  # type: ignore[call-overload]


def _bytes(operator: Operator) -> Floats:
    moved: Floats = operator.bytes  # type: ignore[attr-defined]
    return moved


def _up(values: Floats | Ints, multiple: int) -> Floats:
    return np.ceil(np.asarray(values, dtype=np.float64) / multiple) * multiple


def _causal(operator: PrefillAttention | LatentPrefill, sms: int, packs: bool) -> Floats:
    """Returns the FLOPs over whole blocks of queries, at least those of the last block on every SM.

    Its keys are all before it, or those of the chunk alone where the kernel splits a long prefix among idle SMs.
    """
    chunk = _up(operator.chunk, QUERY_TILE).astype(np.int64)
    whole = replace(operator, chunk=chunk)
    keys = (chunk if packs else chunk + operator.kv_before).astype(np.float64)
    if isinstance(operator, LatentPrefill):
        a_pair = 2.0 * (operator.qk_head_dim + operator.v_head_dim)
    else:
        a_pair = 4.0 * operator.head_dim
        if operator.window is not None:
            keys = np.minimum(keys, operator.window + QUERY_TILE)
    return np.maximum(whole.flops, a_pair * QUERY_TILE * keys * sms)
