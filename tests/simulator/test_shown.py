"""What one simulation prints for people: what was dropped, preempted, cached, the stages, the classes and the verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.cli import bound_value, class_lines, deployment_line, summary_lines, verdict_lines


def of(value: float) -> dict[str, float]:
    """Returns a distribution that has one value."""
    return dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"), value)


def one_class(value: float, **changes: Any) -> dict[str, Any]:
    """Returns the metrics of a class whose latencies have one value."""
    latencies = {name: of(value) for name in ("ttft_s", "tpot_s", "itl_max_s", "e2e_s", "queue_s")}
    counts = {"requests": 10, "rejected": 0, "cancelled": 0, "expired": 0, "goodput_rps": 2.0, "slo_met": True}
    return {**latencies, **counts, **changes}


def metrics(**changes: Any) -> dict[str, Any]:
    """Returns the metrics of a run without anything to tell beyond its latencies."""
    latencies = {name: of(1.0) for name in ("ttft_s", "tpot_s", "itl_s", "itl_max_s", "e2e_s", "queue_s")}
    counts = {"requests": 20, "rejected": 0, "cancelled": 0, "expired": 0, "preemptions": 0, "iterations": 100}
    rates = {"duration_s": 10.0, "request_throughput_rps": 2.0, "output_token_throughput_tps": 50.0, "goodput_rps": None}
    shares = {"mean_batch_size": 3.0, "mfu": 0.1, "kv_blocks": 1000, "kv_utilization": 0.2, "cached_token_share": 0.0}
    rest = {"usd_per_hour": None, "slo_met": True, "stages": [{"busy_share": 0.5}], "classes": None, "bubble_s": None}
    return {**latencies, **counts, **rates, **shares, **rest, "preempted_s": None, **changes}


def test_nothing_is_said_of_what_did_not_happen() -> None:
    text = "\n".join((*summary_lines(metrics()), *class_lines(metrics())))
    assert "0 rejected: " in text and "0 preemptions, MFU" in text
    for word in ("cancelled", "expired", "stages", "class", "prefix cache", "waiting"):
        assert word not in text


def test_what_was_dropped_preempted_and_cached_is_said() -> None:
    changes = {"cancelled": 3, "expired": 1_200, "preemptions": 5, "restarted_requests": 2, "preempted_s": of(0.25)}
    text = "\n".join(summary_lines(metrics(**changes, cached_token_share=0.243)))
    assert "0 rejected, 3 cancelled by users, 1,200 expired: " in text
    assert "5 preemptions of 2 requests (at most 250 ms of waiting each)" in text
    assert "24.3 % of the prompt tokens found in the prefix cache" in text


def test_the_stages_of_a_pipeline_and_their_bubbles_are_said() -> None:
    found = metrics(stages=[{"busy_share": 0.5}, {"busy_share": 0.25}], bubble_s={**of(0.1), "p99": 2.0})
    assert "stages busy 50.0 %, 25.0 %; bubbles of 100 ms a request (p50), 2.00 s (p99)" in list(summary_lines(found))


def test_every_class_has_its_line_and_its_bounds() -> None:
    found = metrics(classes={"chat": one_class(3.0, slo_met=False, expired=1), "long_ones": one_class(0.5)})
    first, second = class_lines(found)
    assert first.startswith("class chat: 10 requests, 0 rejected, 1 expired: TTFT p99 3.00 s") and first.endswith("SLO missed")
    assert second.endswith("goodput 2.00 req/s, SLO met")
    slo = {"chat.ttft_p99_s": 2.0, "e2e_p50_s": 1.0, "itl_p99_s": 2.0, "long_ones.e2e_s": 9.0}
    assert list(verdict_lines({**found, "slo_met": False}, slo)) == [
        "SLO chat.ttft_p99_s <= 2 s: 3.00 s, missed",
        # The bound without a class is about classes that have none of their own.
        "SLO itl_p99_s <= 2 s: 1.00 s, met",
    ]


@pytest.mark.parametrize(
    ("name", "slo", "value"),
    [
        ("ttft_p99_s", ["ttft_p99_s"], 1.0),
        ("a_b.ttft_p99_s", ["a_b.ttft_p99_s"], 3.0),
        ("ttft_p99_s", ["ttft_p99_s", "a_b.ttft_p99_s"], 5.0),
        ("itl_p99_s", ["itl_p99_s", "a_b.ttft_p99_s"], 1.0),
    ],
)
def test_the_value_of_a_bound_is_that_of_the_requests_it_is_about(name: str, slo: list[str], value: float) -> None:
    assert bound_value(metrics(classes={"a_b": one_class(3.0), "c": one_class(5.0)}), slo, name) == value


def test_lost_requests_explain_a_verdict_that_its_parts_do_not() -> None:
    lines = list(verdict_lines(metrics(slo_met=False, rejected=2, expired=1), {"ttft_p99_s": 2.0}))
    assert lines[-1] == "SLO missed: the 3 requests that were rejected or expired count as infinitely slow"


def test_a_fleet_names_its_router() -> None:
    plain = {"model": "m", "replicas": 1, "device": "L4", "tensor_parallel_size": 1, "pipeline_parallel_size": 2, "engine": "e"}
    plain |= {"scheduler": "s", "max_num_batched_tokens": 512, "max_num_seqs": 8, "router": "random"}
    assert deployment_line(plain) == "m on 1x L4 TP1 PP2, e, s, 512 tok, 8 seqs"
    assert deployment_line({**plain, "replicas": 2}).startswith("m on 2x L4 TP1 PP2 behind random, e")
