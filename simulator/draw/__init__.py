"""Traffic drawn from a Workload: the same workload, count and seed give the same bytes."""

from __future__ import annotations

from dataclasses import replace

from simulator.draw.clock import rate_of
from simulator.draw.recorded import load, recorded
from simulator.draw.synthetic import synthetic
from simulator.errors import InputError
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

DEFAULT_REQUESTS = 1000


def draw(workload: Workload, count: int | None, seed: int, *, stratified: bool = True, resample: bool = False) -> Traffic:
    """Returns `count` requests; None takes the workload's `num_requests`, then all rows of a trace, then 1,000.

    Distributions and presets arrive on a clock of 1 request a second from time 0: exactly on the mean where `stratified`,
    which also spreads lengths evenly over the quantiles; the caller sets the rate by `Traffic.at`. Sessions begin by the
    arrival process, at as many a second as make 1 request a second.

    A trace is replayed: its first `count` rows as recorded, continued beyond its end by resampled blocks of rows. With
    `resample` all requests are such blocks, from the whole trace, at exactly its mean rate and other ones for each seed.
    With an arrival process beside the trace only lengths and priorities are the trace's; the rate is the trace's, else 1.

    With `users` the requests are in a closed loop, for which `Traffic.with_users` gives the same ones to other numbers.

    Raises InputError for a trace that cannot be read, for an arrival process that does not go with the workload, and for
    a trace without a clock that is to be replayed without `rate_rps`.
    """
    if count is not None and count < 1:
        raise InputError("num_requests", count, "a number of requests, 1 or more")
    if workload.trace is None:
        traffic = synthetic(workload, count or workload.num_requests or DEFAULT_REQUESTS, seed, stratified)
    else:
        traffic = recorded(workload, count or workload.num_requests, seed, stratified, resample)
    return replace(traffic, seed=seed)


def own_rate(workload: Workload) -> float | None:
    """Returns the requests a second that `rate_rps: null` replays: the mean of the trace's clock, over `num_requests` rows.

    None where there is no such clock: without a trace, in a closed loop, without arrival times, or with all of them equal.
    """
    if workload.trace is None or workload.users is not None:
        return None
    return rate_of(load(workload.trace).arrival_s, workload.num_requests)
