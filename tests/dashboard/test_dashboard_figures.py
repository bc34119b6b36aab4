from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboard.axis import axis_of
from dashboard.figures import cost_by_device, frontier, latency_curve
from dashboard.figures.theme import colors
from dashboard.frames import best_by_device, curves_frame, points_frame
from db.rows import TrialPoint, TrialRow

if TYPE_CHECKING:
    from tests.dashboard.conftest import Stored

SLO = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}
PRICE, TTFT = axis_of("usd_per_million_output_tokens", SLO), axis_of("ttft_p99_s", SLO)


def frame_of(points: list[TrialPoint]) -> pd.DataFrame:
    return points_frame(points, [PRICE, TTFT])


def drawn(frame: pd.DataFrame) -> go.Figure:
    return frontier.figure(frame, PRICE, TTFT, colors(frame["device"]))


def traces(drawing: go.Figure, **wanted: Any) -> list[Any]:
    return [trace for trace in drawing.data if all(trace[name] == value for name, value in wanted.items())]


def places(found: list[Any]) -> set[tuple[float, float]]:
    return {(x, y) for trace in found for x, y in zip(trace.x, trace.y, strict=True) if x is not None}


def test_the_frontier_shows_its_members_and_nothing_else_as_solid(stored: Stored) -> None:
    members = [item.point.objectives for item in stored.points if item.point.on_frontier]
    others = [item.point.objectives for item in stored.points if not item.point.on_frontier]
    drawing = drawn(frame_of(stored.points))
    solid, faint = traces(drawing, showlegend=True, mode="markers"), traces(drawing, name="off the frontier")
    assert places([t for t in solid if not t.name.startswith("tied")]) == {(o[PRICE.name], o[TTFT.name]) for o in members}
    assert places(faint) == {(o[PRICE.name], o[TTFT.name]) for o in others}
    assert all(trace.opacity < 0.5 for trace in faint)


def test_colour_is_by_device_and_marker_by_scheduler(stored: Stored) -> None:
    drawing = drawn(frame_of(stored.points))
    marks = {
        trace.name: (trace.marker.color, trace.marker.symbol) for trace in traces(drawing, showlegend=True) if "·" in trace.name
    }
    assert len(marks) == 6
    by_device = {name.split(" · ")[0]: color for name, (color, _) in marks.items()}
    by_scheduler = {name.split(" · ")[1]: symbol for name, (_, symbol) in marks.items()}
    assert len(set(by_device.values())) == 3
    assert len(set(by_scheduler.values())) == 2
    assert all(mark == (by_device[name.split(" · ")[0]], by_scheduler[name.split(" · ")[1]]) for name, mark in marks.items())


def test_the_staircase_joins_the_members_in_order(stored: Stored) -> None:
    (steps,) = traces(drawn(frame_of(stored.points)), name="frontier")
    assert len(steps.x) == sum(item.point.on_frontier for item in stored.points)
    assert all(a < b for a, b in pairwise(steps.x))
    assert all(a > b for a, b in pairwise(steps.y))
    assert steps.line.shape == "hv"


def test_the_staircase_follows_the_direction_of_the_first_objective(stored: Stored) -> None:
    capacity = axis_of("capacity_rps", {})
    points = [
        replace(item, point=replace(item.point, objectives={**item.point.objectives, "capacity_rps": item.trial.capacity_rps}))
        for item in stored.points
    ]
    frame = points_frame(points, [capacity, TTFT])
    (steps,) = traces(frontier.figure(frame, capacity, TTFT, colors(frame["device"])), name="frontier")
    assert steps.line.shape == "vh"
    assert all(a <= b for a, b in pairwise(steps.x))
    assert all(a <= b for a, b in pairwise(steps.y))


def test_ties_are_ringed_only_where_there_are_several(stored: Stored) -> None:
    tied = {(i.point.objectives[PRICE.name], i.point.objectives[TTFT.name]) for i in stored.points if i.point.tied}
    assert len(tied) > 1
    assert places(traces(drawn(frame_of(stored.points)), name="tied with the best")) == tied
    one = [replace(item, point=replace(item.point, tied=item.point.rank == 1)) for item in stored.points]
    assert not traces(drawn(frame_of(one)), name="tied with the best")
    trial = next(item.trial for item in stored.points if item.point.rank == 1)
    loads = [replace(item, point=replace(item.point, tied=item.trial.id == trial.id)) for item in stored.points]
    assert not traces(drawn(frame_of(loads)), name="tied with the best"), "two loads of one deployment are no tie"


def test_points_over_the_slo_are_crosses(stored: Stored) -> None:
    item = next(item for item in stored.points if not item.point.on_frontier)
    over = replace(item, point=replace(item.point, metrics={**item.point.metrics, "slo_met": False}))
    drawing = drawn(frame_of([over, *(other for other in stored.points if other is not item)]))
    (cross,) = traces(drawing, name="over the SLO")
    assert cross.marker.symbol == frontier.OVER
    assert places([cross]) == {(over.point.objectives[PRICE.name], over.point.objectives[TTFT.name])}


def test_the_hover_tells_every_knob_the_capacity_and_the_metrics(stored: Stored) -> None:
    best = next(item for item in stored.points if item.point.rank == 1)
    hover = str(frame_of(stored.points).set_index("point").loc[best.point.id, "hover"])
    # Options that there are none of are not told of.
    given = {name for name, value in best.trial.deployment.items() if value != {}}
    for name in given - {"model", "device", "scheduler", "dtype", "engine", "replicas"}:
        assert name in hover or name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"), name
    for told in (
        "meta-llama/Llama-3.1-8B",
        "vllm-0.19",
        "bfloat16",
        "vllm_v1",
        "capacity 18.7 [18.2 to 19.3]",
        "TTFT p99",
        "MFU",
        "an hour",
    ):
        assert told in hover


def test_the_slo_is_a_line_on_the_axis_that_it_bounds(stored: Stored) -> None:
    (line,) = drawn(frame_of(stored.points)).layout.shapes
    assert (line.y0, line.y1, line.label.text) == (2.0, 2.0, "SLO 2 s")


def test_points_without_a_value_are_left_out(stored: Stored) -> None:
    item = stored.points[0]
    unpriced = replace(item, point=replace(item.point, objectives={**item.point.objectives, PRICE.name: None}))
    frame = frame_of([unpriced, *stored.points[1:]])
    drawing = drawn(frame)
    assert len(frame) == len(stored.points)
    assert (
        sum(len(t.x) for t in traces(drawing, name="off the frontier")) + len(traces(drawing, name="frontier")[0].x)
        == len(frame) - 1
    )


def test_faint_points_are_thinned_and_members_are_not(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "MOST_FAINT", 50)
    drawing = drawn(frame_of(stored.points))
    assert sum(len(trace.x) for trace in traces(drawing, name="off the frontier")) == 50
    assert len(traces(drawing, name="frontier")[0].x) == sum(item.point.on_frontier for item in stored.points)


def test_a_curve_runs_over_the_rate_and_marks_its_capacity(trial: Callable[..., TrialRow]) -> None:
    frame = curves_frame([trial(7)])
    drawing = latency_curve.figure(frame, TTFT, colors(frame["device"]), demand_rps=5.0)
    (line,) = drawing.data
    stored = trial(7)
    assert list(line.x) == [item["rate_rps"] for item in stored.curve]
    assert list(line.y) == [item["metrics"]["ttft_s"]["p99"] for item in stored.curve]
    (capacity,) = [x for x, symbol in zip(line.x, line.marker.symbol, strict=True) if symbol == "diamond"]
    assert capacity == stored.capacity_rps
    shapes = {shape.name or shape.label.text: shape for shape in drawing.layout.shapes}
    assert (shapes["capacity interval"].x0, shapes["capacity interval"].x1) == (stored.capacity_low_rps, stored.capacity_high_rps)
    assert shapes["capacity"].x0 == stored.capacity_rps
    assert shapes["SLO 2 s"].y0 == 2.0
    assert shapes["demand"].x0 == 5.0


def test_the_diamond_is_within_the_interval_or_absent(trial: Callable[..., TrialRow]) -> None:
    rates = [item["rate_rps"] for item in trial().curve]
    beyond = trial(0, capacity_rps=rates[-1] * 1.01, capacity_low_rps=rates[-1] * 0.999, capacity_high_rps=rates[-1] * 1.02)
    assert curves_frame([beyond])["at_capacity"].tolist() == [False] * (len(rates) - 1) + [True]
    apart = trial(0, capacity_rps=rates[-1] * 1.01, capacity_low_rps=rates[-1] * 1.005, capacity_high_rps=rates[-1] * 1.02)
    assert not curves_frame([apart])["at_capacity"].any()


def test_a_curve_without_a_capacity_has_no_band(trial: Callable[..., TrialRow]) -> None:
    frame = curves_frame([trial(0, capacity_rps=None, capacity_low_rps=None, capacity_high_rps=None)])
    drawing = latency_curve.figure(frame, axis_of("itl_p99_s", {}), colors(frame["device"]))
    assert not drawing.layout.shapes
    assert "diamond" not in drawing.data[0].marker.symbol


def test_cost_has_a_bar_a_device_the_cheapest_first(stored: Stored) -> None:
    frame = frame_of(stored.points)
    best = best_by_device(frame, PRICE)
    (bars,) = cost_by_device.figure(best, PRICE, colors(frame["device"])).data
    cheapest = {device: min(rows[PRICE.name]) for device, rows in frame.groupby("device")}
    assert dict(zip(bars.y, bars.x, strict=True)) == cheapest
    assert list(bars.x) == sorted(bars.x)
    assert list(bars.marker.color) == [colors(frame["device"])[device] for device in bars.y]


def test_the_best_of_a_device_keeps_the_slo(stored: Stored) -> None:
    first = next(item for item in stored.points if item.point.rank == 1)
    over = [
        replace(item, point=replace(item.point, metrics={**item.point.metrics, "slo_met": item.point.id != first.point.id}))
        for item in stored.points
    ]
    assert first.point.id not in set(best_by_device(frame_of(over), PRICE)["point"])


def test_markup_in_names_is_inert_in_hovers(trial: Callable[..., TrialRow]) -> None:
    row = trial()
    named = replace(
        row, deployment={**row.deployment, "model": "<a href='x'>model</a>"}, bill={**(row.bill or {}), "provider": "<b>"}
    )
    hover = curves_frame([named])["hover"].iloc[0]
    assert "<a href" not in hover
    assert "&lt;a href" in hover
    assert "(&lt;b&gt;)" in hover
