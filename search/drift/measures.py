"""The numbers of one side: lengths, rate, bursts, prefix reuse, classes, each with how far sampling alone moves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search.drift.blocks import Blocks
from search.drift.traffic import Side
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Group = Literal["prompt_tokens", "output_tokens", "rate", "burst", "prefix_reuse", "classes"]
# As the bins of research on arrivals: bursts inside a minute, and the rate's own drift beyond.
BINS_S = (10.0, 60.0)
MINUTE_S, HOUR_S = 60.0, 3600.0
# Fewer bins have no variance worth the name.
FEWEST_BINS = 20


@dataclass(frozen=True)
class Number:
    """A number of one side: `error` is the standard error of its logarithm, or of itself where it is a `share`.

    `freedom` are the degrees of freedom that the error is known from.
    """

    name: str
    group: Group
    value: float
    error: float
    freedom: float
    share: bool = False


def numbers(side: Side, clock_rps: float | None, block_size: int, first: int, seed: int) -> Iterator[Number]:
    """Yields the numbers of one side; bursts at the rate `clock_rps`, prefix reuse among the `first` requests.

    Those are left out that the side does not have: of arrivals without a clock, of prefixes where nothing is known of them.
    """
    traffic, blocks = side.traffic, Blocks(len(side.traffic), seed)
    yield _mean("prompt_tokens", traffic.prompt_tokens, blocks)
    yield _mean("output_tokens", traffic.output_tokens, blocks)
    if side.rate_rps is not None:
        yield from _rate(side, blocks)
    if side.timed:
        yield from _bursts(traffic.arrival_s * (traffic.rate_rps / (clock_rps or traffic.rate_rps)), blocks, seed)
    if traffic.content is not None:
        yield _reuse(traffic, block_size, first, seed)
    if len(traffic.class_names) > 1:
        for number, name in enumerate(traffic.class_names):
            members = (traffic.class_of == number).astype(np.float64)
            yield _share(f"share of class {name}", "classes", members, np.ones(len(members)), blocks)


def _mean(group: Group, tokens: Ints, blocks: Blocks) -> Number:
    values = tokens.astype(np.float64)
    return _logged(f"{group}_mean", group, float(values.mean()), blocks.resampled(blocks.sums(values)) / _counts(blocks), blocks)


def _rate(side: Side, blocks: Blocks) -> Iterator[Number]:
    assert side.rate_rps is not None, "asked for by numbers"
    if not side.timed:
        # What was stated is not sampled.
        yield Number("rate_rps", "rate", side.rate_rps, 0.0, np.inf)
        return
    clock = side.traffic.arrival_s
    gaps = np.diff(clock, prepend=clock[0])
    per_gap = blocks.resampled(blocks.sums(gaps)) / _counts(blocks)
    is_drawn = not side.recorded
    number = _logged("rate_rps", "rate", side.rate_rps, 1 / np.maximum(per_gap, 1e-12), blocks)
    yield Number("rate_rps", "rate", side.rate_rps, 0.0, np.inf) if is_drawn else number
    for name, bin_s in (("peak_minute_rps", MINUTE_S), ("peak_hour_rps", HOUR_S)):
        counts = _binned(clock, bin_s)
        if len(counts) >= (FEWEST_BINS if bin_s == MINUTE_S else 2):
            # Neighbouring bins differ by chance: by so many requests for each that is expected.
            dispersion = float((np.diff(counts) ** 2).mean() / 2 / counts.mean())
            top = float(counts.max())
            yield Number(name, "rate", top / bin_s, float(np.sqrt(dispersion / top)), len(counts) / 2)


def _bursts(clock: Floats, blocks: Blocks, seed: int) -> Iterator[Number]:
    """Yields the coefficient of variation of the gaps, and the variance over the mean of the requests of a bin."""
    gaps = np.diff(clock, prepend=clock[0])
    sums = blocks.resampled(blocks.sums(np.stack([gaps, gaps**2], axis=1))) / _counts(blocks)[:, None]
    variance = np.maximum(sums[:, 1] - sums[:, 0] ** 2, 1e-300)
    mean = float(gaps[1:].mean())
    if mean > 0:
        value = float(gaps[1:].std()) / mean
        yield _logged("gap_cv", "burst", value, np.sqrt(variance) / sums[:, 0], blocks)
    for bin_s in BINS_S:
        counts = _binned(clock, bin_s)
        if len(counts) < FEWEST_BINS:
            continue
        bins = Blocks(len(counts), seed, 1)
        moments = bins.resampled(bins.sums(np.stack([counts, counts**2], axis=1))) / _counts(bins)[:, None]
        replicates = moments[:, 1] / moments[:, 0] - moments[:, 0]
        yield _logged(f"dispersion_{bin_s:g}s", "burst", float(counts.var() / counts.mean()), replicates, bins)


def _binned(clock: Floats, bin_s: float) -> Floats:
    """Returns the requests of each whole bin from the first request on, float64[bins]."""
    whole = int((clock[-1] - clock[0]) // bin_s)
    if whole < 1:
        return np.empty(0)
    return np.bincount(((clock - clock[0]) // bin_s).astype(np.int64), minlength=whole)[:whole].astype(np.float64)


def _reuse(traffic: Traffic, block_size: int, first: int, seed: int) -> Number:
    """Returns the share of prompt tokens that an endless prefix cache would hold, among the first requests."""
    part = traffic.between(0, first, 0.0, 1.0)
    content = part.content_for(block_size)
    assert content is not None, "asked for traffic with content"
    held = np.diff(content.starts)
    request = np.repeat(np.arange(first), held)
    place = np.arange(len(request)) - np.repeat(content.starts[:-1], held)
    _, begins, which = np.unique(content.ids, return_index=True, return_inverse=True)
    seen = (request[begins][which] < request) & (place < (part.prompt_tokens // block_size)[request])
    found = np.bincount(request, weights=seen, minlength=first) * block_size
    blocks = Blocks(first, seed)
    return _share("prefix_reuse", "prefix_reuse", np.minimum(found, part.prompt_tokens), part.prompt_tokens.astype(float), blocks)


def _share(name: str, group: Group, part: Floats, whole: Floats, blocks: Blocks) -> Number:
    sums = blocks.resampled(blocks.sums(np.stack([part, whole], axis=1)))
    value = float(part.sum() / whole.sum())
    return Number(name, group, value, blocks.error(sums[:, 0] / sums[:, 1]), blocks.freedom, share=True)


def _logged(name: str, group: Group, value: float, replicates: Floats, blocks: Blocks) -> Number:
    error = blocks.error(np.log(np.maximum(replicates, 1e-300)))
    return Number(name, group, value, error, blocks.freedom)


def _counts(blocks: Blocks) -> Floats:
    """Returns how many requests each replicate has."""
    return blocks.resampled(np.diff(blocks.edges).astype(np.float64))
