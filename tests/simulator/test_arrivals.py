"""Arrival processes: what every one of the folder keeps, and what each alone promises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import arrivals, catalog
from simulator.errors import InputError
from simulator.spec.workload import Arrival

GENERATING = arrivals.generating()


def some_cv(name: str) -> float | None:
    return 2.0 if name in arrivals.taking_cv() else None


def test_the_folder_is_the_list() -> None:
    assert {"gamma", "poisson", "replay"} <= set(catalog.names("arrivals"))
    assert "replay" not in GENERATING


@pytest.mark.parametrize("name", GENERATING)
@given(count=st.integers(0, 300), seed=st.integers(0, 2**32), cv=st.floats(0.05, 1000))
@settings(max_examples=40, deadline=None)
def test_gaps_are_finite_not_negative_and_follow_the_seed(name: str, count: int, seed: int, cv: float) -> None:
    setting = cv if name in arrivals.taking_cv() else None
    process = arrivals.process(Arrival(process=name, cv=setting))
    first, again = (process.gaps(count, setting, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (count,) and first.dtype == np.float64
    assert np.isfinite(first).all() and (first >= 0).all()
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("name", GENERATING)
def test_the_mean_gap_is_one(name: str) -> None:
    process = arrivals.process(Arrival(process=name, cv=some_cv(name)))
    assert process.gaps(200_000, some_cv(name), np.random.default_rng(3)).mean() == pytest.approx(1, rel=0.02)


def test_poisson_counts_have_the_variance_of_their_mean() -> None:
    times = np.cumsum(arrivals.process(Arrival()).gaps(200_000, None, np.random.default_rng(4)))
    counts = np.bincount((times // 20).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.26])
def test_gamma_has_the_coefficient_of_variation_it_is_given(cv: float) -> None:
    gaps = arrivals.process(Arrival(process="gamma", cv=cv)).gaps(400_000, cv, np.random.default_rng(5))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


@pytest.mark.parametrize("name", sorted({"poisson", "replay"}))
def test_a_cv_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(InputError, match=r"^workload\.arrival\.cv: 2\.0 .*gamma"):
        arrivals.process(Arrival(process=name, cv=2.0))


@pytest.mark.parametrize("cv", [None, 1e6])
def test_gamma_refuses_to_be_without_a_usable_cv(cv: float | None) -> None:
    with pytest.raises(InputError, match=r"^workload\.arrival\.cv: .*gamma needs"):
        arrivals.process(Arrival(process="gamma", cv=cv))


def test_an_unknown_process_is_told_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"^workload\.arrival\.process: 'poison' .*allowed: poisson"):
        arrivals.process(Arrival(process="poison"))


def test_a_higher_cv_is_burstier() -> None:
    def dispersion(cv: float) -> float:
        times = np.cumsum(arrivals.process(Arrival(process="gamma", cv=cv)).gaps(100_000, cv, np.random.default_rng(6)))
        counts = np.bincount((times // 50).astype(int))[:-1]
        return float(counts.var() / counts.mean())

    found = [dispersion(cv) for cv in (0.5, 1.0, 2.0, 4.0)]
    assert all(low < high for low, high in pairwise(found))
