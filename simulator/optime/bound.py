"""The roofline: no kernel is faster than its FLOPs at peak rate, its bytes at full bandwidth, its messages at link rate."""

from __future__ import annotations

import numpy as np

from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.collectives import least_seconds
from simulator.optime.operators import Collective, Experts, Floats, Gemm, Memory, Operator, Transfer
from simulator.spec.device import Device


def bound(operator: Operator, device: Device) -> Floats | None:
    """Returns the least seconds of every point, or None when the device states no rate for the operator.

    max(FLOPs / peak, bytes / bandwidth), Williams et al., "Roofline", CACM 52(4), 2009; for collectives the bytes that a
    GPU must send over each kind of link among the GPUs, and for transfers over the slowest.
    """
    if isinstance(operator, Collective):
        return least_seconds(operator, device.link)
    if isinstance(operator, Transfer):
        rate = device.link.bandwidth(operator.gpus)
        return None if rate is None else operator.bytes / rate
    if isinstance(operator, Memory):
        return operator.bytes / device.memory_bandwidth_bytes_per_s
    if isinstance(operator, Gemm | Experts | PrefillAttention | DecodeAttention | LatentPrefill | LatentDecode):
        peak = device.peak_flops_per_s.get(operator.dtype)
        if peak is None:
            return None
        return np.maximum(operator.flops / peak, operator.bytes / device.memory_bandwidth_bytes_per_s)
    return None
