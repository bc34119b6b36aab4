"""Adaptive grids: octaves first, then lines in between where interpolation of the neighbours errs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from profiler.sample import Place, Sample
from profiler.subject import Subject
from simulator.optime.tables import Table

TOLERANCE = 0.03
# Lines nearer to each other than this share of the upper one are not divided.
NEAREST = 1 / 16
Measure = Callable[[Subject, Place], Sample | None]


@dataclass(frozen=True)
class Gap:
    """What lies between two neighbouring lines of an extent."""

    extent: int
    low: int
    high: int

    @property
    def middle(self) -> int:
        """The line that would divide it: lines of interpolation are farthest off there."""
        return (self.low + self.high) // 2

    @property
    def divides(self) -> bool:
        """Whether it is wide enough."""
        return self.high - self.low > max(1.0, self.high * NEAREST)

    def halves(self) -> list[Gap]:
        """Returns the two parts, those that are wide enough."""
        parts = [Gap(self.extent, self.low, self.middle), Gap(self.extent, self.middle, self.high)]
        return [part for part in parts if part.divides]


@dataclass(eq=False)
class Grid:
    """The samples of a subject, whose places make up whole lines as far as they were reached."""

    subject: Subject
    samples: dict[Place, Sample] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Starts from the subject's own lines."""
        self.lines = [set(lines) for lines in self.subject.lines]

    def coarse(self) -> list[Place]:
        """Returns the places to start with."""
        return [place for place in product(*self.subject.lines) if self.subject.exists(place)]

    def gaps(self) -> list[Gap]:
        """Returns what lies between the lines to start with, the last ones first: there an iteration's time is."""
        pairs = (Gap(extent, low, high) for extent, lines in enumerate(self.subject.lines) for low, high in pairwise(lines))
        return sorted((gap for gap in pairs if gap.divides), key=lambda gap: -gap.high)

    def refine(self, gap: Gap, measure: Measure) -> list[Gap]:
        """Measures between two lines and returns what is to be divided further.

        With two extents a line is probed at its end and in its middle, and measured whole when either probe is off: half a
        line would be worse than none. A line that could not be finished is left out.
        """
        places = self.between(gap)
        if not places:
            return []
        probes = {place: measure(self.subject, place) for place in (places[-1], places[len(places) // 2])}
        off = [place for place, sample in probes.items() if sample is not None and self._is_off(place, sample)]
        if len(self.lines) > 1 and not off:
            return []
        measured = {place: probes[place] if place in probes else measure(self.subject, place) for place in places}
        if any(sample is None for sample in measured.values()):
            return []
        self.samples.update({place: sample for place, sample in measured.items() if sample is not None})
        self.lines[gap.extent].add(gap.middle)
        return gap.halves() if off else []

    def between(self, gap: Gap) -> list[Place]:
        """Returns the places of the dividing line that have a sample on either side."""
        found = []
        for other in product(*(sorted(lines) for extent, lines in enumerate(self.lines) if extent != gap.extent)):
            low, middle, high = ((*other[: gap.extent], value, *other[gap.extent :]) for value in (gap.low, gap.middle, gap.high))
            if low in self.samples and high in self.samples and self.subject.exists(middle):
                found.append(middle)
        return found

    def _is_off(self, place: Place, sample: Sample) -> bool:
        """Returns whether the line through the neighbours misses a sample by more than the tolerance, and than its own noise."""
        guess, _ = self.table().at(tuple(np.array([float(each)]) for each in place))
        missed = abs(float(guess[0]) - sample.seconds)
        return missed > TOLERANCE * sample.seconds and missed > sample.spread / 2

    def table(self) -> Table:
        """Returns the samples as they are priced."""
        places = list(self.samples)
        extents = [np.array([place[at] for place in places], dtype=np.float64) for at in range(len(self.lines))]
        return Table.of(extents, np.array([self.samples[place].seconds for place in places]))
