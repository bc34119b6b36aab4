"""Corrections: the factors behind residuals are found, and no more of them than the data tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from search.agreement import agreement
from search.fitting import Residual, fit, residuals_of
from simulator.errors import InputError

FACTORS = {"attention": 1.3, "rest": 1.1, "host": 0.8}


def residuals(shares: list[dict[str, float]], noise: float = 0.0) -> list[Residual]:
    draws = np.random.default_rng(0).normal(0.0, noise, len(shares))
    return [
        Residual(str(number), "tpot_mean_s", sum(share[name] * np.log(FACTORS[name]) for name in share) + draw, share)
        for number, (share, draw) in enumerate(zip(shares, draws, strict=True))
    ]


def mixed(count: int) -> list[dict[str, float]]:
    drawn = np.random.default_rng(1).dirichlet([1, 1, 1], count)
    return [dict(zip(FACTORS, map(float, row), strict=True)) for row in drawn]


def test_factors_are_found_where_deployments_differ_in_what_they_spend_time_on() -> None:
    found = fit("c", residuals(mixed(12), noise=0.01))
    for name, factor in FACTORS.items():
        assert getattr(found, name) == pytest.approx(factor, rel=0.05)
        assert abs(np.log(getattr(found, name) / factor)) < 4 * found.spread[name]  # type: ignore[index]
    assert found.left_out["tpot_mean_s"] < 0.03
    assert found.deployments == 12


def test_deployments_that_are_alike_give_one_factor() -> None:
    found = fit("c", residuals([{"attention": 0.2, "rest": 0.6, "host": 0.2}] * 5, noise=0.01))
    assert found.attention == found.rest == found.host
    assert found.rest == pytest.approx(
        np.exp(sum(s * np.log(FACTORS[n]) for n, s in {"attention": 0.2, "rest": 0.6, "host": 0.2}.items())), rel=0.02
    )


def test_the_error_told_is_that_of_deployments_left_out() -> None:
    told = residuals(mixed(12))
    odd = [Residual("odd", "tpot_mean_s", 2.0, {"attention": 0.3, "rest": 0.4, "host": 0.3})] * 3
    # All runs of the odd one are left out together: its own runs would explain each other.
    alone = fit("c", [*told[:2], *odd])
    assert alone.left_out["tpot_mean_s"] > 0.5


def test_a_few_deployments_are_too_few() -> None:
    with pytest.raises(InputError, match="3 deployments or more; 2 are stored"):
        fit("c", residuals(mixed(2)))


def test_what_a_queue_makes_explode_is_left_out() -> None:
    shares = {"attention": 1.0, "rest": 1.0, "host": 1.0}
    told = residuals_of("1", {"ttft_p50_s": -0.5, "tpot_mean_s": 0.25}, {"ttft_p50_s": {"rest": 9.0}, "tpot_mean_s": shares})
    assert [each.metric for each in told] == ["tpot_mean_s"]
    assert told[0].value == pytest.approx(-np.log(1.25))


def test_agreement_and_regret() -> None:
    same = agreement([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])
    assert same.spearman == pytest.approx(1.0)
    assert same.kendall == pytest.approx(1.0)
    assert same.regret == 0.0
    turned = agreement([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert turned.spearman == pytest.approx(-1.0)
    assert turned.regret == pytest.approx(2.0)
    more = agreement([10.0, 8.0], [1.0, 2.0], smaller=False)
    assert more.regret == pytest.approx(0.2)
    assert agreement([1.0], [2.0]).spearman is None
    assert agreement([], []).deployments == 0
