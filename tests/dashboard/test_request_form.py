"""The form of a new search and the YAML beside it say the same, whichever of the two is edited."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import example, request_form
from dashboard.knob_text import text_of, value_of
from search.request import SearchRequest
from simulator.errors import InputError
from simulator.spec.slo import LATENCIES, STATISTICS

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
names = st.text(alphabet="abcXYZ019-_.:/ ", min_size=1, max_size=12).filter(lambda text: text == text.strip())
whole = st.integers(1, 10**6)
real = st.floats(1e-3, 1e6, allow_nan=False)
limits = whole | real
words = st.sampled_from(["vllm_v1", "auto", "H100-SXM", "L40S", "round_robin", "fp8"])
typed = st.lists(whole | real | words | st.booleans(), min_size=1, max_size=4, unique_by=repr)
ranges = st.fixed_dictionaries({"low": whole, "high": whole, "step": whole}) | st.fixed_dictionaries(
    {"low": whole, "high": whole, "log2": st.just(True)}
)
# What a form cannot show, by where it lies.
kept = st.fixed_dictionaries(
    {},
    optional={
        "profiles": st.just([{"source": "roofline"}]),
        "correction": st.just({"name": "own", "rest": 1.1}),
        "later": st.lists(st.integers()),
    },
)


@st.composite
def forms(draw: st.DrawFn) -> dict[str, Any]:
    """Returns values of every field as the browser sends them."""
    values = request_form.read({"workload": {"trace": None}})
    values |= {name: draw(names) for name in ("name", "model", "engine", "sampler")}
    values |= {"prices": draw(st.none() | names), "rate": draw(st.none() | limits)}
    values |= {name: draw(whole) for name in ("max_gpus", "trials", "seed")}
    values["traffic"] = draw(st.sampled_from(["preset", "trace", "numbers"]))
    if values["traffic"] == "numbers":
        for kind in request_form.LENGTHS:
            shape = draw(st.booleans())
            parts = [limits, limits if shape else st.none(), whole if shape else st.none()]
            values |= {f"{kind}.{end}": draw(part) for end, part in zip(request_form.ENDS, parts, strict=True)}
    else:
        values[values["traffic"]] = draw(names)
    for latency in LATENCIES:
        limit = draw(st.none() | limits)
        values[f"slo.{latency}"] = limit
        values[f"slo.{latency}.statistic"] = "p99" if limit is None else draw(st.sampled_from(STATISTICS))
    values["objectives"] = draw(st.lists(names, max_size=3, unique=True))
    for knob in request_form.KNOBS:
        found = draw(st.just([]) | typed)
        texts = [text_of(value) or "" for value in found]
        values[f"knob.{knob}"] = texts if request_form.is_chosen(knob) else ", ".join(texts)
    return values


@settings(max_examples=40, deadline=None)
@given(forms(), kept)
def test_a_form_written_as_yaml_and_read_again_is_the_same(values: dict[str, Any], rest: dict[str, Any]) -> None:
    document = request_form.write(rest, values)
    text = request_form.yaml_of(document)
    assert request_form.document_of(text) == document
    assert request_form.read(request_form.document_of(text)) == values
    assert set(request_form.not_shown(document)) == set(rest)
    assert {name: document[name] for name in rest} == rest


@settings(max_examples=40, deadline=None)
@given(forms(), forms(), st.sampled_from(request_form.FIELDS))
def test_one_field_changes_itself_alone(before: dict[str, Any], after: dict[str, Any], name: str) -> None:
    if name in request_form.TRAFFIC or name.startswith("slo."):
        return
    document = request_form.write({}, before)
    changed = request_form.read(request_form.write(document, {name: after[name]}))
    assert changed == {**before, name: after[name]}


@settings(max_examples=40, deadline=None)
@given(forms())
def test_writing_what_is_there_changes_nothing(values: dict[str, Any]) -> None:
    document = {**request_form.write({}, values), "space": {"device": "L40S", "max_num_seqs": [256]}}
    old = copy.deepcopy(document)
    assert request_form.write(document, request_form.read(document)) == old
    assert document == old


@given(typed | ranges)
def test_a_knob_s_values_are_the_same_after_a_line_of_text(values: Any) -> None:
    text = text_of(values)
    assert text is not None
    back = value_of(text)
    assert back == (values[0] if isinstance(values, list) and len(values) == 1 else values)


@given(st.text(max_size=30))
def test_any_text_of_a_knob_becomes_a_value_that_shows_the_same(text: str) -> None:
    value = value_of(text)
    shown = text_of(value)
    if shown is not None and value != []:
        assert value_of(shown) == value


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_shown_or_said_not_to_be_and_kept(path: Path) -> None:
    document = request_form.document_of(path.read_text(encoding="utf-8"))
    values = request_form.read(document)
    assert request_form.write(document, values) == document
    missing = request_form.not_shown(document)
    renamed = request_form.write(document, {"name": "another"})
    assert renamed == {**document, "name": "another"}
    if "space" in document:
        assert missing == [] and request_form.read(renamed)["name"] == "another"
        assert SearchRequest.parse(request_form.document_of(request_form.yaml_of(document))) == SearchRequest.parse(document)
    else:
        assert missing


@pytest.mark.parametrize(
    ("workload", "missing"),
    [
        ({"preset": "chat", "users": 8}, ["workload.users"]),
        ({"prompt_tokens": {"weibull": {"shape": 1.0, "scale": 9.0, "max": 99}}, "output_tokens": 5}, ["workload.prompt_tokens"]),
        ({"prompt_tokens": {"fixed": 7}, "output_tokens": 5}, []),
        ({"classes": {"a": {"share": 1.0, "preset": "chat"}}}, ["workload"]),
    ],
)
def test_what_the_form_cannot_show_of_traffic_is_named_and_kept(workload: dict[str, Any], missing: list[str]) -> None:
    document = {**example.REQUEST, "workload": workload, "slo": {"ttft_p99_s": 2, "ttft_p50_s": 1, "bulk": {"e2e_p99_s": 60}}}
    assert request_form.not_shown(document) == sorted(["slo.bulk", "slo.ttft_p50_s", *missing])
    changed = request_form.write(document, {"trials": 7, "slo.ttft": 3.0})
    assert changed["workload"] == workload
    assert changed["slo"] == {"ttft_p99_s": 3.0, "ttft_p50_s": 1, "bulk": {"e2e_p99_s": 60}}


def test_another_origin_of_traffic_takes_the_place_of_the_one_before() -> None:
    document = {"workload": {"preset": "chat", "seed": 4}}
    changed = request_form.write(document, {"traffic": "numbers"})
    assert changed["workload"] == {"prompt_tokens": 1000, "output_tokens": 200, "seed": 4}
    assert request_form.write(changed, {"traffic": "trace", "trace": "t"})["workload"] == {"trace": "t", "seed": 4}


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: 1\na: 2", "", "x", "a: 2026-13-99"])
def test_broken_yaml_is_told_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as error:
        request_form.document_of(text)
    assert error.value.field == request_form.YAML
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"workload": 5, "slo": [1], "space": "x", "budget": None, "demand": [], "objectives": 3}, {}])
def test_a_document_that_is_wrong_all_over_still_has_a_form(wrong: dict[str, Any]) -> None:
    values = request_form.read(wrong)
    assert set(values) == set(request_form.FIELDS)
    assert request_form.write(wrong, {"trials": 9, "knob.device": ["L4"], "slo.ttft": 1.0})["space"] == {"device": ["L4"]}
