"""Vidur's recorded scenarios through `trimtab simulate`: statistics within 2 % (5 % where requests are preempted), and times.

The recordings lie outside the repository (`vidur-reference` in the data folder).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.benchmarks import vidur
from tests.shared import data_dir

NUMBERS = (1, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 16, 18, 19, 21, 22, 24, 25, 27, 29, 31)


@cache
def compared(number: int, **options: Any) -> vidur.Compared:
    """Returns a scenario beside its recording; skips where there are no recordings."""
    folder = data_dir("vidur-reference")
    about = next(s for s in vidur.scenarios(folder) if s["id"].startswith(f"s{number:02d}_"))
    return vidur.compare(folder, about, options)


def test_all_recorded_scenarios_are_known() -> None:
    found = {int(about["id"][1:3]) for about in vidur.scenarios(data_dir("vidur-reference"))}
    assert found == set(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_statistics_are_vidurs(number: int) -> None:
    found = compared(number)
    assert found.deviations and all(abs(value) <= found.limit for value in found.deviations.values()), found.deviations


@pytest.mark.parametrize("number", NUMBERS)
def test_every_request_is_where_nobody_is_preempted(number: int) -> None:
    found = compared(number)
    if found.recorded_preemptions:
        # One rule of Vidur's makes all of the difference.
        assert found.apart > 0
        found = compared(number, spare_block=True)
        assert found.preemptions == found.recorded_preemptions
    assert found.apart == 0, f"{found.apart} requests differ, by {found.apart_s} s at most"


def test_a_dearer_decode_is_seen() -> None:
    folder = data_dir("vidur-reference")
    about = next(s for s in vidur.scenarios(folder) if s["id"].startswith("s09_"))
    other = {**about, "table": "a100_pairwise_nvlink_L38_tp1"}
    assert vidur.compare(folder, other).apart > 0
