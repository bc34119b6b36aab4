"""Measuring the host step: our engine served as it is, streams that decode, and of each step what its operators do not explain.

The engine runs with random weights behind its HTTP front in a process of its own; closed loops of 1, 2, 4, ... streams keep
it busy, so that sampling, detokenizing, HTTP and the loop that shares the interpreter are in the steps' times. No arrival
process and no length of a validation is used: what is measured is a step.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from profiler.load import generate
from profiler.load.engines import Launch, engine
from simulator.draw import draw
from simulator.kernel.pricelist import DECODE_ONLY, MIXED, PREFILL_ONLY, PriceList
from simulator.optime.operators import Floats, Ints
from simulator.run import Prepared
from simulator.spec.workload import Workload

Kind = Literal["decode", "prefill", "mixed"]
PLACES: dict[Kind, int] = {"decode": DECODE_ONLY, "prefill": PREFILL_ONLY, "mixed": MIXED}
# Each stream sends so many requests, of so many tokens each way, one after another.
ROUNDS, OUTPUT = 4, 24
# Fewer decode steps of one size are those in which streams begin and end.
LEAST_DECODES = 20
# Fewer steps with prompts tell nothing.
LEAST_STEPS = 5
# A step that begins so much later than the last one ended waited for a request.
IDLE_S = 0.02


@dataclass(frozen=True)
class Step:
    """One step: its kind, sequences, its seconds from the end of the one before, and what its operators cost."""

    kind: Kind
    sequences: int
    seconds: float
    priced_s: float

    @property
    def beyond_s(self) -> float:
        """What the operators do not explain."""
        return self.seconds - self.priced_s


@dataclass(frozen=True)
class Host:
    """sequences_s[k] of a step of sequences[k] decodes, what prompts add, and the median absolute difference that is left."""

    sequences: tuple[int, ...]
    sequences_s: tuple[float, ...]
    prefill_s: float
    mixed_s: float
    left_s: float
    steps: int


def run_streams(prepared: Prepared, command: Callable[[int], Sequence[str]], folder: Path, vocabulary: int) -> None:
    """Returns when closed loops of 1, 2, 4, ... streams, up to all seats, have been served by the command."""
    deployment = prepared.deployment
    longest = max(min(deployment.max_num_batched_tokens, deployment.max_model_len) - OUTPUT, 2)
    prompts = sorted({max(longest // 8, 1), max(longest // 3, 1)})
    with engine("torch").serve(Launch(deployment.model, folder, command)) as served:
        for users in levels(deployment.max_num_seqs):
            for prompt in prompts:
                asked = {"prompt_tokens": prompt, "output_tokens": OUTPUT, "users": users, "num_requests": ROUNDS * users}
                traffic = draw(Workload.parse(asked, "workload"), None, users)
                generate.run(served, traffic, None, generate.Options(vocabulary=vocabulary, warmup=1))


def levels(seats: int) -> list[int]:
    """Returns 1, 2, 4, ... and the number of seats."""
    return sorted({*(1 << k for k in range(seats.bit_length()) if 1 << k <= seats), seats})


def steps_of(path: Path, prices: PriceList) -> list[Step]:
    """Returns the steps in a log of the engine, but for those that waited for a request."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(_steps(csv.DictReader(file), prices))


def _steps(rows: Iterable[dict[str, str]], prices: PriceList) -> Iterator[Step]:
    computed: dict[str, int] = defaultdict(int)
    last_end = -np.inf
    for row in rows:
        parts = _pairs(row["scheduled"])
        computed.update(_pairs(row["admitted"]))
        decodes = [computed[request] + 1 for request, tokens in parts if tokens == 1]
        chunks = [(tokens, computed[request]) for request, tokens in parts if tokens > 1]
        for request, tokens in parts:
            computed[request] += tokens
        start, end = float(row["start_s"]), float(row["end_s"])
        if start - last_end < IDLE_S and parts:
            kind: Kind = "mixed" if decodes and chunks else "prefill" if chunks else "decode"
            yield Step(kind, len(parts), end - last_end, _priced(kind, decodes, chunks, prices))
        last_end = end


def _pairs(cell: str) -> list[tuple[str, int]]:
    """Returns the requests and their numbers of tokens in a cell of the log."""
    return [(request, int(tokens)) for request, _, tokens in (part.partition(":") for part in cell.split(";") if part)]


def _priced(kind: Kind, decodes: list[int], chunks: list[tuple[int, int]], prices: PriceList) -> float:
    """Returns what the operators of a step cost by the price list."""
    tokens = len(decodes) + sum(length for length, _ in chunks)
    seconds = float(prices.token_s[PLACES[kind], tokens] + prices.sample_s[len(decodes) + len(chunks)])
    if decodes:
        table = prices.mixed_decode_s if chunks else prices.decode_s
        seconds += _between(table, prices.decode_batch, prices.decode_kv, len(decodes), float(np.mean(decodes)))
        seconds += prices.mixed_pair_s * len(decodes) * sum(length for length, _ in chunks)
    for length, before in chunks:
        seconds += _between(prices.prefill_s, prices.prefill_chunk, prices.prefill_kv, length, before)
    return seconds


def _between(table: Floats, rows: Ints, columns: Ints, row: float, column: float) -> float:
    """Returns the bilinear interpolation of table[row, column] between its knots."""
    across = [float(np.interp(column, columns, line)) for line in table]
    return float(np.interp(row, rows, across))


def fitted(steps: Sequence[Step]) -> Host | None:
    """Returns the medians by the decodes of a step, and what prompts add to them; None with too few steps of decodes."""
    groups: dict[int, list[float]] = defaultdict(list)
    for step in steps:
        if step.kind == "decode":
            groups[step.sequences].append(step.beyond_s)
    medians = {count: max(float(np.median(groups[count])), 0.0) for count in sorted(groups) if len(groups[count]) >= LEAST_DECODES}
    if not medians:
        return None
    counts, seconds = list(medians), list(medians.values())

    def rest(kind: Kind) -> Floats:
        return np.array([step.beyond_s - np.interp(step.sequences, counts, seconds) for step in steps if step.kind == kind])

    def of(kind: Kind) -> float:
        left = rest(kind)
        return max(float(np.median(left)), 0.0) if len(left) >= LEAST_STEPS else 0.0

    added: dict[Kind, float] = {"decode": 0.0, "prefill": of("prefill"), "mixed": of("mixed")}
    left = np.concatenate([np.abs(rest(kind) - added[kind]) for kind in PLACES])
    return Host(tuple(counts), tuple(seconds), added["prefill"], added["mixed"], float(np.median(left)), len(steps))
