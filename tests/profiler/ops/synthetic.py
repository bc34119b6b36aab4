"""A clock that knows how long everything takes, and campaigns under it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from profiler.campaign import Campaign, Target
from profiler.log import Log
from profiler.sample import Place, Sample
from profiler.subject import Subject
from profiler.subjects import Limits, subjects_of
from simulator import catalog
from simulator.optime.families import Shard

LIMITS = Limits(tokens=64, sequences=8, length=128)


def subjects(model: str = "test/tiny", limits: Limits = LIMITS, sizes: tuple[int, ...] = (1,)) -> list[Subject]:
    return subjects_of([Shard(catalog.model(model), size, "float32") for size in sizes], limits)[0]


def of_kind(kind: str, limits: Limits = LIMITS) -> Subject:
    return next(each for each in subjects(limits=limits) if each.kind == kind)


class Synthetic:
    """Answers with seconds by formula, and lets time pass by as much; `stop_after` many samples it is interrupted."""

    def __init__(self, formula: Callable[[Subject, Place], float], stop_after: int | None = None) -> None:
        self.formula, self.stop_after = formula, stop_after
        self.now = 0.0
        self.taken: list[tuple[Subject, Place]] = []

    def __call__(self, subject: Subject, place: Place) -> Sample:
        if self.stop_after is not None and len(self.taken) >= self.stop_after:
            raise KeyboardInterrupt
        self.taken.append((subject, place))
        seconds = self.formula(subject, place)
        self.now += seconds
        return Sample(seconds, 0.0, 5)


def target(folder: Path) -> Target:
    return Target(folder / "test-cpu" / "mine.parquet", "test-cpu", catalog.device("test-cpu"), {"name": "mine"})


def campaign(folder: Path, clock: Synthetic, every: list[Subject], budget_s: float = 1e9) -> Campaign:
    to = target(folder)
    log = Log(to.log_path, {"device": "test-cpu"})
    return Campaign(to, every, clock, log, budget_s, clock=lambda: clock.now, err=io.StringIO())
