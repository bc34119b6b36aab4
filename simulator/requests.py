"""Requests of one run as CSV: when each arrived, was scheduled, answered and done."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from simulator.outcome import Outcome
    from simulator.traffic import Traffic

REQUEST_COLUMNS = (
    "request_id",
    "arrived_at_s",
    "num_prefill_tokens",
    "num_decode_tokens",
    "replica",
    "first_scheduled_s",
    "first_token_s",
    "finished_s",
    "preemptions",
    "cached_tokens",
    "rejected",
)


def write_requests(file: TextIO, outcome: Outcome, traffic: Traffic) -> tuple[str, ...]:
    """Writes one CSV row a request in the traffic's order, times in seconds on its clock; empty where nothing happened.

    `request_id` is the zero-based row of the trace; `cached_tokens` were found in the prefix cache when it was first admitted.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(REQUEST_COLUMNS)
    columns = (
        outcome.row,
        outcome.arrived_at,
        traffic.prompt_tokens,
        traffic.output_tokens,
        outcome.replica,
        outcome.first_scheduled_at,
        outcome.first_token_at,
        outcome.finished_at,
        outcome.preemptions,
        outcome.cached_tokens,
        outcome.rejected,
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        number, arrived, prompt, output, replica, *moments, preemptions, cached, rejected = row
        place = "" if replica < 0 else replica
        writer.writerow([number, _time(arrived), prompt, output, place, *map(_time, moments), preemptions, cached, int(rejected)])
    return ()


def _time(moment: float) -> str:
    return "" if math.isnan(moment) else repr(moment)
