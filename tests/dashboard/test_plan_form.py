"""The form of a plan: what an address says of it, and the request that it stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import plan_form as form
from dashboard.pages.plan import changes_of
from search.plan import PlanRequest
from simulator.errors import InputError

AMOUNT = st.one_of(st.none(), st.integers(0, 10_000).map(float))
VALUES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("mean", "growth", "low", "high", "headroom", "spot", "budget", "start"), AMOUNT)
    | {"shape": st.sampled_from(["preset", "trace", "forecast"]), "study": st.one_of(st.none(), st.just("s-1"))},
)


@given(VALUES)
def test_an_address_gives_back_the_fields_that_it_was_made_from(changed: dict[str, Any]) -> None:
    values = {**form.DEFAULTS, **changed}
    assert form.values_of(form.query_of(values)) == values


def test_the_defaults_are_a_request_and_say_nothing_in_an_address() -> None:
    assert form.query_of(form.DEFAULTS) == {}
    request = PlanRequest.parse(form.document_of(form.DEFAULTS))
    assert (request.demand.mean_rps, request.fleet.headroom, request.fleet.survives) == (40.0, 0.1, "instance")


def test_sliders_stand_where_an_address_has_them_and_else_change_nothing() -> None:
    values = form.DEFAULTS | {"headroom": 25.0}
    assert form.sliders_of(values) == [1.0, 25.0, 1.0]
    assert form.sliders_of(values, {"if_demand": "2", "mean": "7"}) == [2.0, 25.0, 1.0]
    for name, text in (("if_demand", "9"), ("if_slo", "0.1"), ("if_headroom", "many")):
        with pytest.raises(InputError, match=f"{name}: '{text}'"):
            form.sliders_of(values, {name: text})


def test_one_trial_of_a_study_is_planned_alone() -> None:
    values = form.values_of({"study": "s-1", "trial": "7"})
    assert PlanRequest.parse(form.document_of(values)).trials == (7,)
    assert form.query_of(values) == {"study": "s-1", "trial": "7"}


def test_every_field_reaches_the_request() -> None:
    values = form.DEFAULTS | {
        "study": "s-1", "shape": "forecast", "forecast": "hour,rate_rps\n" + "\n".join(f"{hour},2" for hour in range(24)),
        "growth": 5.0, "months": 2.0, "low": 0.8, "high": 1.5, "percentile": 80.0, "headroom": 25.0, "survives": "zone", "zones": 4,
        "start": 300.0, "stay": 3, "spot": 40.0, "budget": 1000.0,
    }  # fmt: skip
    request = PlanRequest.parse(form.document_of(values))
    assert request.study == "s-1" and request.demand.forecast is not None and len(request.demand.forecast) == 24
    assert (request.demand.growth_per_month, request.demand.months, request.demand.percentile) == (0.05, 2.0, 80.0)
    assert request.demand.interval is not None and (request.demand.interval.low, request.demand.interval.high) == (0.8, 1.5)
    assert (request.fleet.headroom, request.fleet.survives, request.fleet.zones) == (0.25, "zone", 4)
    assert request.fleet.scaling is not None and (request.fleet.scaling.start_up_s, request.fleet.scaling.min_up_h) == (300.0, 3)
    assert request.spot is not None and request.spot.max_share == 0.4 and request.budget_usd_per_month == 1000.0


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"low": 0.5}, "demand.interval"),
        ({"shape": "forecast", "forecast": "time,rate\n0,1"}, "demand.forecast"),
        ({"shape": "forecast", "forecast": "hour,rate_rps\n0,x"}, "demand.forecast"),
        ({"shape": "trace"}, "demand"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        PlanRequest.parse(form.document_of(form.DEFAULTS | changed))
    assert caught.value.field.startswith(field)


def test_the_demand_s_slider_multiplies_what_is_planned_for() -> None:
    request = PlanRequest.parse(form.document_of(form.DEFAULTS | {"growth": 10.0, "months": 2.0}))
    changes = changes_of(request, {"ttft_p99_s": 2.0}, 1.5, 20, 0.5)
    assert (1 + changes["demand"]["growth_per_month"]) ** changes["demand"]["months"] == pytest.approx(1.1**2 * 1.5)
    assert changes["slo"] == {"ttft_p99_s": 1.0} and changes["fleet"] == {"headroom": 0.2}
