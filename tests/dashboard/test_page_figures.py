"""Figures of the pages of studies, trials and comparisons: what they draw follows from what they are given."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dashboard.advice import advice_of
from dashboard.axis import axis_of
from dashboard.figures import coordinates, cumulative, explore, marginal, memory, quantiles, shares, steps
from dashboard.importance import importance

USD, TTFT = axis_of("usd_per_million_output_tokens", {}), axis_of("ttft_p99_s", {"ttft_p99_s": 2.0})


def frame(amount: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "trial": index,
            "place": index + 1 if index < 3 else 0,
            "tied": False,
            "on_frontier": index < 3,
            "hover": f"trial {index}",
            "device": ("H100-SXM", "L40S")[index % 2],
            "max_num_seqs": (64.0, 128.0, 256.0)[index % 3],
            USD.name: 1.0 + index % 2 + 0.01 * rng.random(),
            TTFT.name: 0.1 + index / 100,
        }
        for index in range(amount)
    ]
    return pd.DataFrame(rows)


def test_frontier_draws_every_point_once_with_members_solid() -> None:
    drawing = explore.figure(frame(), explore.Look(USD, TTFT))
    points = [trace for trace in drawing.data if trace.mode == "markers"]
    drawn = [trial for trace in points for trial in trace.customdata or ()]
    assert sorted(drawn) == list(range(40))
    assert sorted(trial for trace in points if trace.opacity == 1 for trial in trace.customdata or ()) == [0, 1, 2]


def test_frontier_is_coloured_by_a_number_with_a_scale_and_by_a_knob_with_a_legend() -> None:
    by_number = explore.figure(frame(), explore.Look(USD, TTFT, color=TTFT.name, color_title="TTFT"))
    assert any(trace.marker.showscale for trace in by_number.data if trace.mode == "markers")
    by_knob = explore.figure(frame(), explore.Look(USD, TTFT, color="device"))
    assert {trace.name for trace in by_knob.data if trace.showlegend} == {"H100-SXM", "L40S"}


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_scale_is_the_one_that_was_asked_for(kind: str) -> None:
    drawing = explore.figure(frame(), explore.Look(USD, TTFT, x_scale=kind, y_scale=kind))
    assert (drawing.layout.xaxis.type, drawing.layout.yaxis.type) == (kind, kind)


def test_a_frame_without_a_row_is_an_empty_figure() -> None:
    json.dumps(explore.figure(frame().head(0), explore.Look(USD, TTFT)).to_plotly_json(), default=list)


def test_quantiles_have_a_bar_each_and_the_limit_of_the_slo() -> None:
    drawing = quantiles.figure([("one", {"p50": 0.1, "p99": 0.9, "max": None})], {"p99": 2.0})
    assert list(drawing.data[0].x) == ["p50", "p99"]
    assert drawing.layout.shapes[0].y0 == 2.0


def test_memory_adds_up_to_the_whole() -> None:
    drawing = memory.figure([("weights", 30 * 2**30), ("KV cache", 40 * 2**30)], 80 * 2**30)
    assert sum(trace.x[0] for trace in drawing.data) == pytest.approx(80)
    assert drawing.data[-1].name == "not used"


def test_shares_put_the_largest_on_top() -> None:
    drawing = shares.figure([("a", 0.2, ""), ("b", 0.7, ""), ("c", 0.1, "")], "share")
    assert list(drawing.data[0].y)[-1] == "b"


def test_distributions_end_at_one() -> None:
    drawing = cumulative.figure([("one", {"shares": [0, 0.5, 1.0], "seconds": [0.1, 0.2, 4.0]})], "TTFT", {"p99": 2.0})
    assert drawing.data[0].y[-1] == 1.0


def test_steps_share_their_seconds() -> None:
    columns = ("tokens", "num_running", "num_waiting", "free_blocks")
    drawing = steps.figure({"start_s": [0.0, 0.5], **{name: [1, 2] for name in columns}})
    assert len(drawing.data) == 4 and all(list(trace.x) == [0.0, 0.5] for trace in drawing.data)


def test_coordinates_draw_every_deployment_in_one_of_five_colours() -> None:
    columns = [("device", "device"), ("max_num_seqs", "seqs"), (USD.name, "price")]
    drawing = coordinates.figure(frame(), columns, USD)
    assert sum(list(trace.x).count(0) for trace in drawing.data) == 40
    best = next(trace for trace in drawing.data if trace.name == "the best fifth")
    assert list(best.x).count(0) == 8


def test_marginal_has_every_setting_with_its_best() -> None:
    drawing = marginal.figure(frame(), "device", "device", USD)
    assert list(drawing.data[0].x) == ["H100-SXM", "L40S"]
    assert list(drawing.data[1].y) == frame().groupby("device")[USD.name].min().tolist()


def test_the_knob_that_decides_has_all_of_the_variance_and_the_other_none() -> None:
    found = {each.knob: each.share for each in importance(frame(600), ["device", "max_num_seqs"], USD.name)}
    assert found["device"] > 0.99
    assert found["max_num_seqs"] < 0.01


def test_chance_explains_nothing() -> None:
    rng = np.random.default_rng(1)
    noise = pd.DataFrame({"knob": np.arange(300) % 60, "value": rng.random(300) + 1})
    assert importance(noise, ["knob"], "value")[0].share < 0.15


def test_a_handful_of_deployments_tells_nothing() -> None:
    assert importance(frame(5), ["device"], USD.name) == []


DEPLOYMENT = {"max_num_seqs": 64, "max_num_batched_tokens": 512, "pipeline_parallel_size": 1, "scheduler": "vllm_v1"}
QUIET = {
    "batch_size": {"p99": 10},
    "batch_tokens": {"p90": 50, "p99": 100},
    "itl_s": {"p50": 0.01, "p99": 0.012},
    "busy_share": 0.99,
}


def cases(binding: str, **changed: object) -> list[str]:
    metrics = {**QUIET, **{name: value for name, value in changed.items() if name not in DEPLOYMENT}}
    deployment = {**DEPLOYMENT, **{name: value for name, value in changed.items() if name in DEPLOYMENT}}
    return [each.case for each in advice_of(deployment, metrics, binding, {"itl_p99_s": 0.2, "ttft_p99_s": 2.0})]


def test_every_bottleneck_is_told_by_its_own_rule() -> None:
    assert cases("ttft_p99_s") == ["throughput"]
    assert cases("ttft_p99_s", batch_size={"p99": 64}) == ["batch cap"]
    assert cases("ttft_p99_s", preemptions=3) == ["memory"]
    assert cases("ttft_p99_s", kv_utilization_peak=0.99) == ["memory"]
    assert cases("ttft_p99_s", batch_tokens={"p90": 512}) == ["prefill throughput"]
    assert cases("itl_p99_s", pipeline_parallel_size=2, busy_share=0.5) == ["pipeline bubbles"]
    assert cases("itl_p99_s", itl_s={"p50": 0.15, "p99": 0.2}) == ["model latency"]
    assert cases("itl_p99_s", scheduler="vllm_v0", itl_s={"p50": 0.01, "p99": 0.2}) == ["scheduler"]
    assert cases("itl_p99_s", itl_s={"p50": 0.01, "p99": 0.2}, batch_tokens={"p99": 512}) == ["chunk"]


def test_nothing_is_advised_without_metrics_or_a_bound() -> None:
    assert advice_of(DEPLOYMENT, None, "ttft_p99_s", {}) == []
    assert advice_of(DEPLOYMENT, QUIET, None, {}) == []
