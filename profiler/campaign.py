"""A run of the operator profiler: coarse grids of every subject first, then refinement, until nothing is left or time is up."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TextIO

from profiler.grid import Gap, Grid
from profiler.log import Log
from profiler.sample import Place, Sample
from profiler.subject import Subject, row_of
from simulator.errors import InputError
from simulator.optime import profile
from simulator.optime.shapes import Key
from simulator.spec.device import Device

# A point runs about so often, warm-up included; one that would take more than this share of the budget is left out.
RUNS_A_POINT = 8
DEAREST = 0.1
WRITE_EVERY_S, TELL_EVERY_S = 60.0, 2.0
Take = Callable[[Subject, Place], Sample | None]


@dataclass(frozen=True)
class Target:
    """Where the profile goes, and what is told of it."""

    path: Path
    device_name: str
    device: Device
    about: dict[str, object]

    @property
    def log_path(self) -> Path:
        """The log of the run, beside the profile, so that a later run goes on from it."""
        return self.path.with_name(f".{self.path.stem}.jsonl")


@dataclass(eq=False)
class Campaign:
    """Measures subjects into one profile; `take` measures one point, or returns None where it cannot be."""

    target: Target
    subjects: Sequence[Subject]
    take: Take
    log: Log
    budget_s: float
    clock: Callable[[], float] = monotonic
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _news: set[tuple[Key, Place]] = field(default_factory=set)
    too_dear: int = 0
    cut: bool = False
    finished: bool = False

    def run(self) -> int:
        """Returns how many points the profile has in the end; what there is, is written also when a run is interrupted."""
        self._begun = self._told = self._written = self.clock()
        self._slowness: dict[Subject, float] = {}
        self.grids = [Grid(subject) for subject in self.subjects]
        try:
            self._coarse()
            self._refine()
        finally:
            self.write()
            self.log.close()
        return len(self.rows())

    @property
    def left_s(self) -> float:
        """The seconds that are left of the budget."""
        return self.budget_s - (self.clock() - self._begun)

    def _coarse(self) -> None:
        """Measures all grids to start with, cheap points of all before dear ones of any."""
        points = [
            (grid.subject.least_seconds(place, self.target.device), n, place)
            for n, grid in enumerate(self.grids)
            for place in grid.coarse()
        ]
        for _, n, place in sorted(points):
            sample = self.measure(self.subjects[n], place)
            if sample is not None:
                self.grids[n].samples[place] = sample

    def _refine(self) -> None:
        """Divides gaps, all once before any twice."""
        gaps: deque[tuple[Grid, Gap]] = deque((grid, gap) for grid in self.grids for gap in grid.gaps())
        while gaps:
            if self.left_s <= 0 and self._is_news(*gaps[0]):
                return
            grid, gap = gaps.popleft()
            gaps.extend((grid, half) for half in grid.refine(gap, self.measure))
        self.finished = not self.cut

    def _is_news(self, grid: Grid, gap: Gap) -> bool:
        """Returns whether dividing a gap takes points that no earlier run has measured."""
        return any((grid.subject.key, place) not in self.log.samples for place in grid.between(gap))

    def measure(self, subject: Subject, place: Place) -> Sample | None:
        """Returns the sample of a point, perhaps from an earlier run; None where it was not taken."""
        known = self.log.samples.get((subject.key, place))
        if known is not None:
            self._learn(subject, place, known)
            return known
        least = subject.least_seconds(place, self.target.device)
        foreseen = RUNS_A_POINT * least * self._slowness.get(subject, 1.0)
        if foreseen > DEAREST * self.budget_s:
            self.too_dear += 1
            return None
        if self.left_s <= max(foreseen, 0.0):
            self.cut = True
            return None
        sample = self.take(subject, place)
        if sample is None or sample.seconds <= 0:
            return None
        self.log.add(subject.key, place, sample)
        self._news.add((subject.key, place))
        self._learn(subject, place, sample)
        self._tell(subject, place)
        return sample

    def _learn(self, subject: Subject, place: Place, sample: Sample) -> None:
        least = subject.least_seconds(place, self.target.device)
        self._slowness[subject] = sample.seconds / least if least > 0 else 1.0

    def _tell(self, subject: Subject, place: Place) -> None:
        now = self.clock()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            at = " x ".join(str(each) for each in place)
            left = max(self.left_s, 0.0)
            print(f"{len(self._news)} points, {subject.label} at {at}; at most {left:.0f} s left", file=self.err, flush=True)
        if now - self._written >= WRITE_EVERY_S:
            self.write()

    def rows(self) -> list[dict[str, object]]:
        """Returns the rows of the profile."""
        return [
            {**row_of(grid.subject.key, place), "seconds": sample.seconds, "spread": sample.spread, "reps": sample.reps}
            for grid in self.grids
            for place, sample in grid.samples.items()
        ]

    @property
    def points_before(self) -> int:
        """Returns how many of the rows earlier runs measured."""
        return sum((grid.subject.key, place) not in self._news for grid in self.grids for place in grid.samples)

    def write(self) -> None:
        """Writes the profile as far as it is; nothing where nothing was measured."""
        self._written = self.clock()
        rows = self.rows()
        if rows:
            try:
                profile.write(self.target.path, rows, self.target.device_name, self.target.about)
            except OSError as error:
                raise InputError("--out", str(self.target.path), f"a file that can be written ({error.strerror})") from None
