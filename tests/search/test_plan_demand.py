"""A week's demand: its sources, growth, uncertainty, hours that no clock change moves, and wrong input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search.plan.demand import busiest_rows, week_of
from search.plan.request import Demand, PlanRequest, read
from simulator import catalog
from simulator.errors import InputError

BASE: dict[str, Any] = {
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "deployments": [{"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}],
    "demand": {"preset": "chat", "mean_rps": 10},
}


def demand(**fields: Any) -> Demand:
    """Returns a demand of these fields."""
    return Demand.parse(fields)


def written(folder: Path, name: str, lines: list[str]) -> Path:
    """Returns a file of these lines."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def trace(folder: Path, hours: dict[int, int], last_hour: int) -> str:
    """Returns a trace with so many requests in some of its hours, one in the first and ten in the last."""
    counts = {0: 1, last_hour: 10, **hours}
    rows = [(hour * 3600 + 3599 * k / max(n, 1), 100 + k, 10) for hour, n in sorted(counts.items()) for k in range(n)]
    lines = ["arrived_at,num_prefill_tokens,num_decode_tokens", *(f"{at},{prompt},{out}" for at, prompt, out in rows)]
    return str(written(folder, "trace.csv", lines))


def test_a_preset_is_its_measured_shape_from_monday_on_at_the_stated_mean() -> None:
    week = week_of(demand(preset="chat", mean_rps=40.0))
    shape = catalog.preset("chat").diurnal
    assert shape is not None
    assert week.rate_rps.mean() == pytest.approx(40)
    assert week.rate_rps[14] / week.rate_rps[5 * 24 + 14] == pytest.approx(shape.weekday_utc[14] / shape.weekend_utc[14])
    assert week.label(0) == "Mon 00:00 UTC"
    assert week.label(6 * 24 + 23) == "Sun 23:00 UTC"
    assert week_of(demand(preset="chat", peak_rps=40.0)).rate_rps.max() == pytest.approx(40)
    assert any("AzurePublicDataset" in note for note in week.notes)


def test_every_day_has_24_hours_whatever_clocks_are_put_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    here = week_of(demand(preset="chat", mean_rps=40.0))
    monkeypatch.setenv("TZ", "America/New_York")
    there = week_of(demand(preset="chat", mean_rps=40.0))
    assert len(here.rate_rps) == 168
    assert np.array_equal(here.rate_rps, there.rate_rps)
    assert [here.label(hour) for hour in range(168)] == [there.label(hour) for hour in range(168)]


def test_growth_is_compounded_by_month() -> None:
    plain = week_of(demand(preset="chat", mean_rps=40.0))
    grown = week_of(demand(preset="chat", mean_rps=40.0, growth_per_month=0.1, months=3.0))
    assert grown.rate_rps == pytest.approx(plain.rate_rps * 1.331)
    assert grown.now_rps == pytest.approx(plain.rate_rps)


@given(st.floats(1, 99), st.floats(1, 99), st.floats(0.1, 1), st.floats(1, 5), st.floats(0.5, 0.99))
def test_a_higher_percentile_is_never_less_and_the_ends_are_the_intervals(
    one: float, two: float, low: float, high: float, level: float
) -> None:
    def at(percentile: float) -> float:
        sure = {"level": level, "low": low, "high": high}
        return float(week_of(demand(preset="chat", mean_rps=40.0, percentile=percentile, interval=sure)).rate_rps[0])

    middle = at(50.0)
    assert at(min(one, two)) <= at(max(one, two)) * (1 + 1e-9)
    assert at(50 + 50 * level) == pytest.approx(middle * high)
    assert at(50 - 50 * level) == pytest.approx(middle * low)


def test_a_forecast_is_read_with_its_interval(tmp_path: Path) -> None:
    lines = ["hour,rate_rps,low,high", *(f"{hour},{hour + 1},{hour + 0.5},{2 * hour + 2}" for hour in range(24))]
    written(tmp_path, "forecast.csv", lines)
    sure = {"forecast": "forecast.csv", "percentile": 95.0, "interval": {"level": 0.9}}
    request = {**BASE, "workload": {"preset": "chat"}, "demand": sure}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(request))
    week = week_of(read(path).demand)
    assert week.rate_rps[:24] == pytest.approx([2 * hour + 2 for hour in range(24)])
    assert week.rate_rps[24:48] == pytest.approx(week.rate_rps[:24])
    assert week.label(25) == "day 2, hour 1"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["hour,rate"], "hour,rate_rps"),
        (["hour,rate_rps", *(f"{hour},1" for hour in range(23))], "hour 23 is missing"),
        (["hour,rate_rps", *(f"{hour},1" for hour in (*range(23), 22))], "hour 23 is missing"),
        (["hour,rate_rps", "0,many"], "line 2, rate_rps"),
        (["hour,rate_rps", "0,-1"], "0 or more"),
        (["hour,rate_rps", "0.5,1"], "whole number"),
        (["hour,rate_rps", "0,1,2"], "as many cells as columns"),
        (["hour,rate_rps", *(f"{hour},0" for hour in range(24))], "a rate above 0"),
        (["hour,rate_rps,low,high", *(f"{hour},1,2,3" for hour in range(24))], "low <= rate_rps <= high"),
    ],
)
def test_a_wrong_forecast_is_refused_in_one_line(tmp_path: Path, lines: list[str], told: str) -> None:
    written(tmp_path, "forecast.csv", lines)
    path = tmp_path / "plan.yaml"
    demanded = {"forecast": "forecast.csv", **({"interval": {"level": 0.9}} if "low" in lines[0] else {})}
    path.write_text(yaml.safe_dump({**BASE, "workload": {"preset": "chat"}, "demand": demanded}))
    with pytest.raises(InputError, match="forecast") as refused:
        read(path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"demand": {"preset": "chat"}}, "demand.mean_rps"),
        ({"demand": {"preset": "chat", "trace": "x.csv", "mean_rps": 1}}, "exactly one of preset, trace, forecast"),
        ({"demand": {"preset": "chat", "mean_rps": 1, "peak_rps": 2}}, "demand.peak_rps"),
        ({"demand": {"preset": "chat", "mean_rps": 1, "percentile": 90.0}}, "50 without an interval"),
        ({"demand": {"preset": "chat", "mean_rps": 1, "interval": {"level": 0.9}}}, "level, low and high"),
        ({"fleet": {"survives": "zone"}}, "fleet.zones"),
        ({"fleet": {"zones": 3}}, "fleet.zones"),
        ({"fleet": {"scaling": {}}}, "fleet.scaling.start_up_s"),
        ({"deployments": None}, "study"),
        ({"study": "s-1"}, "study"),
        ({"trials": [1]}, "trials"),
        ({"slo": None}, "slo"),
        ({"prices": None}, "prices"),
        ({"prices": "nowhere"}, "cloud-2026-11"),
        ({"workload": {"preset": "chat", "users": 3}}, "workload.users"),
        ({"terms": ["reserved"], "fleet": {"scaling": {"start_up_s": 1}}}, "what is reserved cannot be scaled"),
        ({"head_room": 1}, "head_room"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as refused:
        PlanRequest.parse({**BASE, **changes})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_trace_of_days_is_repeated_and_its_part_of_a_day_left_out(tmp_path: Path) -> None:
    path = trace(tmp_path, {3: 36, 30: 72, 50: 7200}, 54)
    week = week_of(demand(trace=path))
    assert week.rate_rps[3] == pytest.approx(36 / 3600)
    assert week.rate_rps[30] == week.rate_rps[48 + 30] == pytest.approx(72 / 3600)
    assert week.rate_rps.max() == pytest.approx(72 / 3600)
    assert "2 whole days" in week.notes[0]


def test_a_trace_of_weeks_has_percentiles_of_its_own(tmp_path: Path) -> None:
    path = trace(tmp_path, {5: 10, 168 + 5: 30, 336 + 5: 20}, 503)
    rates = {percentile: week_of(demand(trace=path, percentile=percentile)).rate_rps[5] * 3600 for percentile in (10.0, 50.0, 99.0)}
    assert rates == pytest.approx({10.0: 10, 50.0: 20, 99.0: 30})
    first, last, start_s = busiest_rows(path, 5)
    assert (last - first, start_s) == (30, (168 + 5) * 3600)


def test_a_trace_of_hours_is_no_week(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"demand\.trace.*24 hours or more"):
        week_of(demand(trace=trace(tmp_path, {3: 36}, 5)))
    with pytest.raises(InputError, match=r"demand\.percentile"):
        week_of(demand(trace=trace(tmp_path, {3: 36}, 48), percentile=90.0))


def test_a_preset_without_a_daily_shape_is_refused() -> None:
    flat = next(name for name in catalog.names("workloads") if catalog.preset(name).diurnal is None)
    with pytest.raises(InputError, match=r"demand\.preset.*chat"):
        week_of(demand(preset=flat, mean_rps=1.0))
