"""Slo: terms for all requests and terms of one class, in both spellings."""

from __future__ import annotations

import pytest

from simulator.errors import InputError
from simulator.spec.slo import Bound, Slo
from simulator.spec.workload import Workload


def test_a_class_has_bounds_of_its_own_in_the_place_of_the_others() -> None:
    nested = Slo.parse({"ttft_p99_s": 2.0, "e2e_s": 30, "batch": {"e2e_p95_s": 60, "ttft_s": 9.0}})
    dotted = Slo.parse({"ttft_p99_s": 2.0, "e2e_s": 30, "batch.e2e_p95_s": 60, "batch.ttft_s": 9.0})
    assert nested == dotted and Slo.parse(dict(nested)) == nested and hash(nested) == hash(dotted)
    assert nested.bounds == (Bound("e2e_p95_s", 60.0, "batch"), Bound("ttft_p99_s", 2.0))
    assert [bound.name for bound in nested.bounds] == ["batch.e2e_p95_s", "ttft_p99_s"]
    assert nested.class_names == ("batch",)
    assert dict(nested.for_class("batch")) == {"e2e_p95_s": 60.0, "ttft_s": 9.0}
    assert dict(nested.for_class("chat")) == {"e2e_s": 30.0, "ttft_p99_s": 2.0}


def test_limits_of_one_request_are_those_of_its_class() -> None:
    slo = Slo.parse({"ttft_p99_s": 2.0, "batch": {"ttft_p99_s": 60}, "urgent": {"itl_p99_s": 0.1, "ttft_s": 0.5}})
    assert [slo.request_limit("ttft_s", name) for name in ("chat", "batch", "urgent")] == [2.0, 60.0, 0.5]
    assert slo.request_limit("ttft_s") == 2.0 and slo.request_limit("itl_max_s", "urgent") == 0.1
    assert slo.request_limit("itl_max_s", "batch") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"batch": {"tftt_p99_s": 2.0}}, r"^slo\.batch\.tftt_p99_s \(unknown term\): 2\.0"),
        ({"batch": {"ttft_p99_ms": 2.0}}, r"^slo\.batch\.ttft_p99_ms: 2\.0 .*seconds, as batch\.ttft_p99_s"),
        ({"batch": {"ttft_p99_s": -1}}, r"^slo\.batch\.ttft_p99_s: -1 .*positive"),
        ({"batch": {}}, r"^slo\.batch: \{\}"),
        ({"batch": {"ttft_s": 2.0}, "ttft_p99_s": 1}, r"^slo\.batch: .*at least one percentile bound"),
        ({"batch": {"ttft_p99_s": 2}, "batch.ttft_p99_s": 3}, r"^slo\.batch\.ttft_p99_s: 3 .*each term once"),
    ],
)
def test_wrong_terms_of_a_class_are_told(data: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Slo.parse(data)


def test_the_slos_of_classes_join_that_of_the_scenario() -> None:
    classes = {"chat": {"share": 0.5}, "batch": {"share": 0.5, "slo": {"e2e_p95_s": 60}}}
    workload = Workload.parse({"preset": "chat", "classes": classes})
    whole = workload.slo_with(Slo.parse({"ttft_p99_s": 2.0}))
    assert whole is not None and dict(whole) == {"batch.e2e_p95_s": 60.0, "ttft_p99_s": 2.0}
    assert dict(workload.slo_with(None) or {}) == {"batch.e2e_p95_s": 60.0}
    assert Workload(preset="chat").slo_with(None) is None
    with pytest.raises(InputError, match=r"^slo \(unknown class\): 'bath' .*batch, chat"):
        workload.slo_with(Slo.parse({"bath": {"ttft_p99_s": 2.0}}))
    with pytest.raises(InputError, match=r"^slo\.batch: "):
        workload.slo_with(Slo.parse({"batch": {"ttft_p99_s": 2.0}}))
