"""How the GPUs, the KV pool and the time of a run were used."""

from __future__ import annotations

import numpy as np

from simulator.measure.ranks import Floats
from simulator.outcome import Outcome
from simulator.run import Prepared
from simulator.spec.metrics import Completions, StageUse

# Parts of a run: enough to see a ramp and a tail, few enough to store with every point of a curve.
PARTS = 50


def over(amount: float, base: float) -> float:
    """Returns a ratio; 0 where there is nothing to compare with."""
    return amount / base if base > 0 else 0.0


def engines(outcome: Outcome, prepared: Prepared) -> int:
    """Returns the engines of the fleet that ran."""
    return outcome.replicas * prepared.deployment.data_parallel_size


def mfu(outcome: Outcome, prepared: Prepared, duration_s: float) -> float | None:
    """Returns the model FLOPs of all scheduled tokens over what the GPUs could have done; None where the peak is not known."""
    peak = prepared.price_list.peak_flops_per_s
    flops = outcome.scheduled_tokens * prepared.price_list.flops_per_token
    return over(flops, duration_s * peak * prepared.deployment.gpus_per_replica * outcome.replicas) if peak else None


def bandwidth_utilization(outcome: Outcome, prepared: Prepared, duration_s: float) -> float | None:
    """Returns the bytes read from memory over what all engines could have read; None where the peak is not known."""
    prices = prepared.price_list
    if not prices.peak_bytes_per_s:
        return None
    read = outcome.iterations * prices.weight_bytes + outcome.kv_tokens * prices.kv_bytes_per_token
    return over(read, duration_s * prices.peak_bytes_per_s * engines(outcome, prepared))


def stages(outcome: Outcome, prepared: Prepared, duration_s: float) -> tuple[StageUse, ...]:
    """Returns the use of each pipeline stage: its share of the work on its share of the GPUs, which is one of as many."""
    count = len(outcome.stage_busy_s)
    whole = mfu(outcome, prepared, duration_s), bandwidth_utilization(outcome, prepared, duration_s)
    shares: Floats = prepared.price_list.stage_share
    return tuple(
        StageUse(
            busy_share=over(float(busy), duration_s * engines(outcome, prepared)),
            mfu=None if whole[0] is None else whole[0] * float(share) * count,
            bandwidth_utilization=None if whole[1] is None else whole[1] * float(share) * count,
        )
        for busy, share in zip(outcome.stage_busy_s, shares, strict=True)
    )


def completions(finished_at: Floats, begin_s: float, duration_s: float) -> Completions:
    """Returns the finishes of a run in PARTS equal parts of it, a finish at an edge in the later one, the last in the last."""
    if duration_s <= 0:
        return Completions(bin_s=0.0, counts=(len(finished_at),))
    place = ((finished_at - begin_s) * (PARTS / duration_s)).astype(np.int64)
    counts = np.bincount(np.minimum(place, PARTS - 1), minlength=PARTS)
    return Completions(bin_s=duration_s / PARTS, counts=tuple(counts.tolist()))
