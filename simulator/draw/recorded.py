"""Requests of a trace: replayed, continued beyond its end, or resampled from the whole of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator import lengths, uploads
from simulator.arrivals import generating, process
from simulator.content import Content
from simulator.draw.clock import generated, rate_of, to_mean
from simulator.draw.kinds import patience_of, refuse_rho
from simulator.draw.patience import patient
from simulator.draw.streams import stream
from simulator.errors import InputError, unknown_name
from simulator.spec.workload import Arrival, Workload
from simulator.traces import Trace, _blocks, reader
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def recorded(workload: Workload, count: int | None, seed: int, stratified: bool, resample: bool) -> Traffic:
    """Returns `count` requests of the workload's trace, None for all its rows, as `draw` says."""
    refuse_rho(workload, "workload", "trace")
    assert workload.trace is not None, "asked for workloads with a trace only"
    trace = load(workload.trace)
    for name in workload.classes or {}:
        if name not in trace.class_names:
            raise unknown_name(f"workload.classes.{name}", name, trace.class_names)
    count = count or len(trace)
    replayed = 0 if resample else min(count, len(trace))
    rows = np.concatenate([np.arange(replayed), _blocks.resample(len(trace), count - replayed, stream(seed, "rows"))])
    arrival_s, rate = _arrivals(workload, trace, rows, replayed, seed, stratified, resample)
    again = _times_before(rows)
    traffic = Traffic(
        arrival_s=arrival_s,
        prompt_tokens=trace.prompt_tokens[rows],
        output_tokens=trace.output_tokens[rows],
        priority=trace.priority[rows],
        rate_rps=rate,
        notes=(*trace.notes, *_notes(workload, trace, count, resample)),
        class_of=trace.class_of[rows],
        class_names=trace.class_names,
        row=trace.row[rows],
        content=None if trace.block_ids is None else _content(trace, rows, again),
    )
    traffic = patient(traffic, [patience_of(workload, name) for name in trace.class_names], seed, stratified)
    if workload.users is not None:
        if workload.think_time_s is not None:
            u = lengths.uniforms(count, stream(seed, "pauses"), stratified)
            traffic = replace(traffic, think_s=lengths.seconds(workload.think_time_s, u))
        traffic = traffic.with_users(workload.users)
    return replace(traffic, session=_sessions(trace, rows, again))


def load(path: str) -> Trace:
    """Returns the trace at a path, or the uploaded one, read once for as long as the file stays as it is."""
    try:
        status = (uploads.folder() / uploads.hash_of(path) if path.startswith("sha256:") else Path(path)).stat()
        version = (status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        version = (0, 0)
    return _read(path, version)


@lru_cache(maxsize=4)
def _read(path: str, version: tuple[int, int]) -> Trace:
    if path.startswith("sha256:"):
        return reader.parse(uploads.read(path), Path(path[: len("sha256:") + 12]))
    return reader.read(Path(path))


def _arrivals(
    workload: Workload, trace: Trace, rows: Ints, replayed: int, seed: int, stratified: bool, resample: bool
) -> tuple[Floats, float]:
    """Returns arrival times in seconds and their mean rate."""
    if workload.users is not None:
        return np.zeros(len(rows)), 0.0
    rate = rate_of(trace.arrival_s, replayed or None)
    arrival = workload.arrival or Arrival(process="poisson" if trace.arrival_s is None else "replay")
    if process(arrival).RECORDED:
        # Requests that all arrive at once have no rate; they count as those of one second.
        return _replayed(workload, trace, rows, replayed, rate, seed), rate or float(len(rows))
    if rate is None and workload.rate_rps is None and not resample:
        raise InputError("workload.rate_rps", None, "a rate in requests a second, since the trace has none of its own")
    rate = rate or 1.0
    return generated(arrival, len(rows), seed, stratified) / rate, rate


def _replayed(workload: Workload, trace: Trace, rows: Ints, replayed: int, rate: float | None, seed: int) -> Floats:
    """Returns arrival times in seconds: the first `replayed` as in the trace, then those of the other rows by their gaps."""
    clock = trace.arrival_s
    if clock is None:
        raise InputError("workload.arrival.process", "replay", f"{', '.join(generating())}, since the trace has no arrival times")
    if rate is None and len(rows) > 1 and (replayed < len(rows) or workload.rate_rps is not None):
        allowed = (
            "a trace whose requests do not all arrive at once, or an arrival process beside it, as arrival: {process: poisson}"
        )
        raise InputError("workload.trace", workload.trace, allowed)
    if rate is None or replayed == len(rows):
        return clock[: len(rows)].copy()
    gaps = np.diff(clock, prepend=clock[0] - 1 / rate)[rows[replayed:]]
    rng = stream(seed, "arrivals")
    if replayed:
        return np.concatenate([clock, clock[-1] + np.cumsum(to_mean(gaps, 1 / rate, rng))])
    return np.concatenate([[0.0], np.cumsum(to_mean(gaps[1:], 1 / rate, rng))])


def _times_before(rows: Ints) -> Ints:
    """Returns how often the row of each request was taken before, int64[n]."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    times = np.empty(len(rows), np.int64)
    times[order] = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    return times


def _content(trace: Trace, rows: Ints, again: Ints) -> Content:
    """Returns the blocks of the requests: a row that comes again stands for another request like it, with tokens of its own."""
    assert trace.block_ids is not None, "asked for traces with blocks only"
    counts = np.array([len(ids) for ids in trace.block_ids], np.int64)
    recorded_ids, ids = np.unique(np.concatenate(trace.block_ids), return_inverse=True)
    first = np.concatenate([[0], np.cumsum(counts)])[:-1]
    starts = np.concatenate([[0], np.cumsum(counts[rows])])
    request = np.repeat(np.arange(len(rows)), counts[rows])
    place = np.arange(len(request)) - starts[request]
    taken = ids[first[rows][request] + place] + len(recorded_ids) * again[request]
    return Content(taken.astype(np.int64), starts.astype(np.int64), trace.block_tokens or 0, outputs=trace.block_tokens is None)


def _sessions(trace: Trace, rows: Ints, again: Ints) -> Ints:
    sessions = int(trace.session.max(initial=-1)) + 1
    return np.where(trace.session[rows] < 0, -1, trace.session[rows] + sessions * again)


def _notes(workload: Workload, trace: Trace, count: int, resample: bool) -> list[str]:
    total, block = len(trace), _blocks.block_length(len(trace))
    notes = []
    if resample:
        notes.append(f"{count:,} requests were drawn from the trace's {total:,} rows in blocks of up to {block} rows")
    elif count > total:
        notes.append(f"the trace's {total:,} rows were continued to {count:,} by resampling blocks of {block} rows")
    elif count < total:
        notes.append(f"the first {count:,} of the trace's {total:,} rows")
    if trace.arrival_s is None and workload.arrival is None and workload.users is None:
        notes.append("the trace has no arrival times: arrivals are drawn by the process poisson")
    return notes
