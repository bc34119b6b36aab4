"""Traffic drawn from a Workload: the same workload, count and seed give the same bytes.

Every part of the randomness has its own stream, so that another arrival process, say, leaves the lengths as they are.
A rate is the inverse of the mean gap: (n - 1) / (last arrival - first arrival).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator import catalog, lengths
from simulator.arrivals import generating, process
from simulator.errors import InputError
from simulator.spec.distributions import Lengths
from simulator.spec.workload import Arrival, Workload
from simulator.traces import Trace, _blocks, reader
from simulator.traffic import Traffic

DEFAULT_REQUESTS = 1000
STREAMS = ("arrivals", "lengths", "rows")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def draw(workload: Workload, count: int | None, seed: int, *, stratified: bool = True, resample: bool = False) -> Traffic:
    """Returns `count` requests; None takes the workload's `num_requests`, then all rows of a trace, then 1,000.

    Distributions and presets arrive on a clock of 1 request a second from time 0: exactly on the mean where `stratified`,
    which also spreads lengths evenly over the quantiles; the caller sets the rate by `Traffic.at`.

    A trace is replayed: its first `count` rows as recorded, continued beyond its end by resampled blocks of rows. With
    `resample` all requests are such blocks, from the whole trace, at exactly its mean rate and other ones for each seed.
    With an arrival process beside the trace only lengths and priorities are the trace's; the rate is the trace's, else 1.

    Raises InputError for a trace that cannot be read, for an arrival process that does not go with the workload, and for
    a trace without a clock that is to be replayed without `rate_rps`.
    """
    if count is not None and count < 1:
        raise InputError("num_requests", count, "a number of requests, 1 or more")
    if workload.trace is None:
        return _synthetic(workload, count or workload.num_requests or DEFAULT_REQUESTS, seed, stratified)
    return _from_trace(workload, _trace(workload), count or workload.num_requests, seed, stratified, resample)


def own_rate(workload: Workload) -> float | None:
    """Returns the requests a second that `rate_rps: null` replays: the mean of the trace's clock, over `num_requests` rows.

    None where there is no such clock: without a trace, without arrival times, or with all of them equal.
    """
    return None if workload.trace is None else _rate(_trace(workload).arrival_s, workload.num_requests)


def _synthetic(workload: Workload, count: int, seed: int, stratified: bool) -> Traffic:
    prompt, output, rho, arrival = _distributions(workload)
    prompt_u, output_u = lengths.copula(count, rho, _stream(seed, "lengths"), stratified)
    return Traffic(
        arrival_s=_generated(arrival, count, seed, stratified),
        prompt_tokens=lengths.sample(prompt, prompt_u),
        output_tokens=lengths.sample(output, output_u),
        priority=np.zeros(count, np.int64),
        rate_rps=1.0,
    )


def _distributions(workload: Workload) -> tuple[Lengths, Lengths, float, Arrival]:
    """Returns prompt and output lengths, their correlation and the arrival process."""
    if workload.preset is None:
        assert workload.prompt_tokens is not None and workload.output_tokens is not None, "Workload has one origin"
        return workload.prompt_tokens, workload.output_tokens, workload.copula_rho, workload.arrival or Arrival()
    _refuse_rho(workload, "preset")
    preset = catalog.preset(workload.preset)
    return preset.prompt_tokens, preset.output_tokens, preset.copula_rho, workload.arrival or preset.arrival


def _from_trace(workload: Workload, trace: Trace, count: int | None, seed: int, stratified: bool, resample: bool) -> Traffic:
    _refuse_rho(workload, "trace")
    count = count or len(trace)
    recorded = 0 if resample else min(count, len(trace))
    rows = np.concatenate([np.arange(recorded), _blocks.resample(len(trace), count - recorded, _stream(seed, "rows"))])
    rate = _rate(trace.arrival_s, recorded or None)
    arrival = workload.arrival or Arrival(process="poisson" if trace.arrival_s is None else "replay")
    if process(arrival).RECORDED:
        arrival_s = _replayed(workload, trace, rows, recorded, rate, seed)
        # Requests that all arrive at once have no rate; they count as those of one second.
        rate = rate or float(count)
    else:
        if rate is None and workload.rate_rps is None and not resample:
            raise InputError("workload.rate_rps", None, "a rate in requests a second, since the trace has none of its own")
        rate = rate or 1.0
        arrival_s = _generated(arrival, count, seed, stratified) / rate
    return Traffic(
        arrival_s=arrival_s,
        prompt_tokens=trace.prompt_tokens[rows],
        output_tokens=trace.output_tokens[rows],
        priority=trace.priority[rows],
        rate_rps=rate,
        notes=(*trace.notes, *_notes(workload, trace, count, resample)),
    )


def _replayed(workload: Workload, trace: Trace, rows: Ints, recorded: int, rate: float | None, seed: int) -> Floats:
    """Returns arrival times in seconds: the first `recorded` as in the trace, then those of the other rows by their gaps."""
    clock = trace.arrival_s
    if clock is None:
        raise InputError("workload.arrival.process", "replay", f"{', '.join(generating())}, since the trace has no arrival times")
    if rate is None and len(rows) > 1 and (recorded < len(rows) or workload.rate_rps is not None):
        allowed = (
            "a trace whose requests do not all arrive at once, or an arrival process beside it, as arrival: {process: poisson}"
        )
        raise InputError("workload.trace", workload.trace, allowed)
    if rate is None or recorded == len(rows):
        return clock[: len(rows)].copy()
    gaps = np.diff(clock, prepend=clock[0] - 1 / rate)[rows[recorded:]]
    rng = _stream(seed, "arrivals")
    if recorded:
        return np.concatenate([clock, clock[-1] + np.cumsum(_to_mean(gaps, 1 / rate, rng))])
    return np.concatenate([[0.0], np.cumsum(_to_mean(gaps[1:], 1 / rate, rng))])


def _generated(arrival: Arrival, count: int, seed: int, exact: bool) -> Floats:
    """Returns arrival times from 0 with gaps of mean 1, which their own mean is where `exact`."""
    found = process(arrival)
    if found.RECORDED:
        allowed = f"{', '.join(generating())}; there is no trace to replay"
        raise InputError("workload.arrival.process", arrival.process, allowed)
    rng = _stream(seed, "arrivals")
    gaps = found.gaps(count - 1, arrival.cv, rng)
    return np.concatenate([[0.0], np.cumsum(_to_mean(gaps, 1.0, rng) if exact else gaps)])


def _to_mean(gaps: Floats, mean: float, rng: np.random.Generator) -> Floats:
    """Returns the gaps scaled so that their mean is exactly `mean`."""
    if not gaps.size:
        return gaps
    longest = gaps.max()
    if longest == 0:
        # What very bursty gaps tend to: all arrive together before or after one silence.
        scaled = np.zeros(len(gaps))
        scaled[rng.integers(len(gaps))] = 1.0
    else:
        scaled = gaps / longest
    return scaled * (mean * len(gaps) / float(scaled.sum()))


def _notes(workload: Workload, trace: Trace, count: int, resample: bool) -> list[str]:
    total, block = len(trace), _blocks.block_length(len(trace))
    notes = []
    if resample:
        notes.append(f"{count:,} requests were drawn from the trace's {total:,} rows in blocks of up to {block} rows")
    elif count > total:
        notes.append(f"the trace's {total:,} rows were continued to {count:,} by resampling blocks of {block} rows")
    elif count < total:
        notes.append(f"the first {count:,} of the trace's {total:,} rows")
    if trace.arrival_s is None and workload.arrival is None:
        notes.append("the trace has no arrival times: arrivals are drawn by the process poisson")
    if trace.block_ids is not None:
        notes.append("the trace's prefix blocks (block_ids) are not simulated: every prompt is computed whole")
    return notes


def _rate(clock: Floats | None, rows: int | None) -> float | None:
    """Returns the mean rate of the first rows, or of the whole clock where those arrive at once; None where all do."""
    for taken in () if clock is None else (clock[:rows], clock):
        span = float(taken[-1] - taken[0])
        if span > 0:
            return (len(taken) - 1) / span
    return None


def _stream(seed: int, part: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAMS.index(part),)))


def _refuse_rho(workload: Workload, origin: str) -> None:
    if workload.copula_rho != 0:
        raise InputError("workload.copula_rho", workload.copula_rho, f"none with a {origin}, whose lengths go together already")


def _trace(workload: Workload) -> Trace:
    assert workload.trace is not None, "asked for workloads with a trace only"
    try:
        status = Path(workload.trace).stat()
        version = (status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        version = (0, 0)
    return _read(workload.trace, version)


@lru_cache(maxsize=4)
def _read(path: str, version: tuple[int, int]) -> Trace:
    """Returns the trace, read once for as long as the file stays as it is: a study draws from it for every seed."""
    return reader.read(Path(path))
