"""The prefix cache finds in Mooncake's traces what the published hit ratios say, to one point."""

from __future__ import annotations

import pytest

from tests.benchmarks import mooncake
from tests.shared import data_dir


@pytest.mark.slow
@pytest.mark.parametrize("name", mooncake.PUBLISHED)
def test_hit_ratios_are_the_published_ones_to_one_point(name: str) -> None:
    traffic, server = mooncake.trace_of(name, data_dir("traces")), mooncake.server()
    for capacity, expected in mooncake.PUBLISHED[name].items():
        found = mooncake.hit_ratio(server, traffic, mooncake.CAPACITIES[capacity])
        assert found == pytest.approx(expected, abs=0.01), capacity
