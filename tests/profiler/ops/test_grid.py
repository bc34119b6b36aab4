"""Grids: octaves first, then lines where interpolation errs, and no half lines."""

from __future__ import annotations

import numpy as np
import pytest

from profiler.grid import TOLERANCE, Gap, Grid
from profiler.sample import Place, Sample
from profiler.subject import Subject
from profiler.subjects import Limits
from tests.profiler.ops.synthetic import of_kind

WIDE = Limits(tokens=1024, sequences=64, length=1024)


def refined(subject: Subject, seconds: dict[str, float] | None = None, spread: float = 0.0) -> Grid:
    grid = Grid(subject)

    def measure(_: Subject, place: Place) -> Sample | None:
        return Sample(formula(place), spread, 5)

    grid.samples = {place: Sample(formula(place), spread, 5) for place in grid.coarse()}
    gaps = grid.gaps()
    while gaps:
        gaps = [half for gap in gaps for half in grid.refine(gap, measure)]
    return grid


def formula(place: Place) -> float:
    """A kernel that steps by half at 600 rows and is a line elsewhere."""
    return 1e-5 + 1e-7 * place[0] * (1.5 if place[0] > 600 else 1.0)


def test_points_gather_where_the_line_errs() -> None:
    grid = refined(of_kind("gemm", WIDE))
    rows = sorted(place[0] for place in grid.samples)
    assert set(of_kind("gemm", WIDE).lines[0]) <= set(rows)
    inside = [row for row in rows if 512 < row < 1024]
    assert len(inside) > len([row for row in rows if 256 < row < 512])
    at = np.arange(1, 1025, dtype=np.float64)
    away = np.abs(at - 600) > 40
    guess, _ = grid.table().at((at,))
    truth = np.array([formula((int(each),)) for each in at])
    assert np.max(np.abs(guess / truth - 1)[away]) < TOLERANCE


def test_a_straight_line_is_not_divided_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = of_kind("memory", WIDE)
    grid = Grid(subject)
    straight = {place: Sample(1e-6 * place[0], 0.0, 5) for place in grid.coarse()}
    grid.samples = dict(straight)
    halves = [grid.refine(gap, lambda _, place: Sample(1e-6 * place[0], 0.0, 5)) for gap in grid.gaps()]
    assert not any(halves)


def test_noise_is_not_refined() -> None:
    assert len(refined(of_kind("gemm", WIDE), spread=1.0).samples) < len(refined(of_kind("gemm", WIDE)).samples)


def test_two_extents_get_whole_lines_or_none() -> None:
    subject = of_kind("decode_attention", WIDE)

    def uneven(_: Subject, place: Place) -> Sample:
        return Sample(1e-6 * place[0] ** 2 * place[1], 0.0, 5)

    grid = Grid(subject)
    grid.samples = {place: uneven(subject, place) for place in grid.coarse()}
    coarse = len(grid.samples)
    assert grid.refine(Gap(0, 32, 64), uneven) == [Gap(0, 32, 48), Gap(0, 48, 64)]
    assert len(grid.samples) == coarse + len(subject.lines[1])
    assert grid.refine(Gap(1, *sorted(subject.lines[1])[-2:]), uneven) == []
    assert len(grid.samples) == coarse + len(subject.lines[1])


def test_a_line_that_is_not_finished_is_left_out() -> None:
    subject = of_kind("decode_attention", WIDE)
    grid = Grid(subject)
    grid.samples = {place: Sample(1e-6 * place[0] ** 2, 0.0, 5) for place in grid.coarse()}
    before, taken = dict(grid.samples), []

    def until_time_is_up(_: Subject, place: Place) -> Sample | None:
        taken.append(place)
        return Sample(1.0, 0.0, 5) if len(taken) < 4 else None

    assert grid.refine(Gap(0, 32, 64), until_time_is_up) == []
    assert grid.samples == before
