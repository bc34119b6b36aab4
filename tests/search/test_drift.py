"""Traffic beside traffic: what is alike raises no alarm whatever the seed, and each planted change is named, and it alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.drift.compare import compare
from search.drift.document import Interval, Limit, Load
from search.drift.fleet import fewest
from search.drift.measures import numbers
from search.drift.report import drifted
from search.drift.standing import _brink
from search.drift.traffic import Side, of_trace
from simulator.draw import draw
from simulator.spec.workload import Workload
from simulator.traffic import Traffic
from tests.shared import data_dir

CHAT: dict[str, Any] = {"preset": "chat"}
PREFIXES: dict[str, Any] = {"preset": "chat", "prefix": {"shared_tokens": 800, "groups": 30, "zipf": 1.0}}
CLASSES: dict[str, Any] = {"classes": {"chat": {"share": 0.7, "preset": "chat"}, "long": {"share": 0.3, "preset": "summarization"}}}
BURSTY: dict[str, Any] = {"preset": "chat", "arrival": {"process": "gamma", "cv": 3.0}}
COUNT = 4_000
MOONCAKE = "mooncake_conversation.jsonl.gz"


def side(workload: dict[str, Any], seed: int, count: int = COUNT, rate_rps: float = 5.0) -> Side:
    """Returns drawn requests as a trace would have recorded them."""
    drawn = draw(Workload.parse(workload), count, seed, stratified=False)
    return recorded(drawn, drawn.at(rate_rps))


def recorded(traffic: Traffic, clock: Any) -> Side:
    """Returns requests on a clock, whose rate is what was recorded."""
    rate = (len(clock) - 1) / float(clock[-1] - clock[0])
    return Side(replace(traffic, arrival_s=clock, rate_rps=rate), rate, timed=True, recorded=True)


def shaped(seed: int, days: float = 2.0, mean_rps: float = 0.5) -> Side:
    """Returns requests whose rate follows the hour of the day, four to one."""
    rng, span = np.random.default_rng(seed), days * 86_400
    candidates = np.sort(rng.random(rng.poisson(1.6 * mean_rps * span)) * span)
    kept = candidates[rng.random(len(candidates)) < (1 + 0.6 * np.sin(candidates / 86_400 * 2 * np.pi)) / 1.6]
    return recorded(draw(Workload.parse(CHAT), len(kept), seed, stratified=False), kept)


def clustered(seed: int) -> Side:
    """Returns requests that come in runs of alike ones, of 20 in the mean: as if each run were one user's work."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(rng.lognormal(6.0, 0.8, COUNT), rng.geometric(1 / 20, COUNT))[:COUNT]
    plain = side(CHAT, seed)
    tokens = np.maximum(kind * rng.lognormal(0.0, 0.1, COUNT), 1).astype(np.int64)
    return replace(plain, traffic=replace(plain.traffic, prompt_tokens=tokens))


def named(study: Side, trace: Side, **how: Any) -> list[str]:
    """Returns what is said to have changed."""
    return drifted(compare(study, trace, 16, 0, **how))


@pytest.mark.parametrize("count", [150, COUNT])
@pytest.mark.parametrize("workload", [CHAT, PREFIXES, CLASSES, BURSTY, {"preset": "reasoning"}, {"preset": "code_completion"}])
def test_the_same_traffic_of_other_seeds_raises_no_alarm(workload: dict[str, Any], count: int) -> None:
    for seed in range(12):
        assert named(side(workload, 2 * seed, count), side(workload, 2 * seed + 1, count)) == []


def test_the_same_days_and_runs_of_alike_requests_raise_no_alarm() -> None:
    for seed in range(6):
        assert named(shaped(2 * seed), shaped(2 * seed + 1)) == []
    for seed in range(20):
        assert named(clustered(2 * seed), clustered(2 * seed + 1)) == []


def longer(given_side: Side, name: str, factor: float) -> Side:
    """Returns the requests with longer prompts or outputs."""
    tokens = np.ceil(getattr(given_side.traffic, name) * factor).astype(np.int64)
    return replace(given_side, traffic=replace(given_side.traffic, **{name: tokens}))


def test_each_change_is_named_and_it_alone() -> None:
    base = side(CHAT, 1)
    assert named(base, longer(side(CHAT, 2), "prompt_tokens", 1.2)) == ["prompt lengths"]
    assert named(base, longer(side(CHAT, 2), "output_tokens", 0.8)) == ["output lengths"]
    assert named(base, side(CHAT, 2, rate_rps=10.0)) == ["request rate"]
    assert named(base, side(BURSTY, 2)) == ["burstiness"]
    assert named(side(BURSTY, 1), base) == ["burstiness"]


def test_a_shape_of_the_day_hides_no_higher_rate() -> None:
    assert named(shaped(1), shaped(2, mean_rps=0.6)) == ["request rate"]


def test_prefixes_that_are_no_longer_shared_are_named() -> None:
    shared = side(PREFIXES, 2)
    # The same requests, each with a system prompt of its own.
    content = shared.traffic.content_for(16)
    assert content is not None
    alone = replace(content, ids=np.arange(len(content.ids)))
    changes = compare(side(PREFIXES, 1), replace(shared, traffic=replace(shared.traffic, content=alone)), 16, 0)
    assert drifted(changes) == ["prefix reuse"]
    reuse = next(each for each in changes if each.name == "prefix_reuse")
    # 800 of about 1,155 tokens are shared by all but the first of each group; prompts shorter than that have what they hold.
    assert reuse.study is not None and 0.4 < reuse.study < 0.7 and reuse.trace == 0


def test_shares_of_classes_are_named_and_a_class_of_one_side_has_none_on_the_other() -> None:
    moved = {"classes": {**CLASSES["classes"], "chat": {"share": 0.5, "preset": "chat"}, "code": {"share": 0.2, "preset": "chat"}}}
    changes = {each.name: each for each in compare(side(CLASSES, 1), side(moved, 2), 16, 0)}
    assert changes["share of class code"].study == 0 and changes["share of class code"].beyond
    assert changes["share of class chat"].beyond and not changes["share of class long"].beyond


def test_peaks_of_minutes_and_hours_are_told() -> None:
    changes = {each.name: each for each in compare(shaped(1), shaped(2), 16, 0)}
    peak = changes["peak_hour_rps"].study
    assert peak is not None and 0.75 < peak < 0.9
    minute = changes["peak_minute_rps"].study
    assert minute is not None and minute > peak


def test_what_no_answer_can_tell_is_no_news_unless_asked_for() -> None:
    base, moved = side(CHAT, 1, 200_000), side(CHAT, 2, 200_000, rate_rps=5.1)
    assert named(base, moved) == []
    assert named(base, moved, tolerance=0.0) == ["request rate"]


def test_a_number_that_one_side_has_is_told_and_not_judged() -> None:
    timeless = replace(side(CHAT, 2), rate_rps=None, timed=False)
    changes = {each.name: each for each in compare(side(CHAT, 1), timeless, 16, 0)}
    rate = changes["rate_rps"]
    assert rate.study is not None and rate.trace is None and rate.beyond is None
    assert changes["gap_cv"].beyond is None


def test_what_sampling_explains_is_told_in_the_direction_of_the_change() -> None:
    changes = compare(side(CHAT, 1, 300), side(BURSTY, 2, 300), 16, 0) + compare(side(BURSTY, 1, 300), side(CHAT, 2, 300), 16, 0)
    judged = [
        (each.change, each.by_chance, each.beyond) for each in changes if each.change is not None and each.by_chance is not None
    ]
    assert len(judged) >= 10 and all(chance < 1 for moved, chance, _ in judged if moved < 0)
    assert all(abs(moved) > chance for moved, chance, beyond in judged if beyond)


def test_recorded_traces_have_their_published_figures() -> None:
    """Mooncake's paper has 40 % for its conversation trace with an endless cache; 37.4 % are in the published file."""
    folder = data_dir("traces")
    chat, code, long = (of_file(folder / name) for name in ("azure2023_conv.csv.gz", "azure2023_code.csv.gz", MOONCAKE))
    found = {each.name: each.value for each in numbers(chat, None, 16, len(chat.traffic), 0)}
    assert found["gap_cv"] == pytest.approx(1.09, abs=0.01)
    assert found["dispersion_10s"] == pytest.approx(3.9, abs=0.05) and found["dispersion_60s"] == pytest.approx(16, abs=0.5)
    found = {each.name: each.value for each in numbers(code, None, 16, len(code.traffic), 0)}
    assert found["gap_cv"] == pytest.approx(13.2, abs=0.1)
    assert found["dispersion_10s"] == pytest.approx(72, abs=1) and found["dispersion_60s"] == pytest.approx(164, abs=2)
    found = {each.name: each.value for each in numbers(long, None, 512, len(long.traffic), 0)}
    assert found["prefix_reuse"] == pytest.approx(0.374, abs=0.005)
    assert named(chat, code) == ["prompt lengths", "output lengths", "burstiness"]


def of_file(path: Path) -> Side:
    return of_trace(Workload(trace=str(path)), str(path), None, 0)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_the_fewest_replicas_are_found_from_any_guess(needed: int, guess: int, most: int) -> None:
    asked: list[int] = []

    def ask(count: int) -> bool:
        asked.append(count)
        return count >= needed

    guess = min(guess, most)
    found = fewest(ask, guess, most)
    assert found == (needed if needed <= most else None)
    assert max(asked) <= most and len(asked) < 40


@pytest.mark.parametrize(
    ("rate", "kept", "needed", "told"),
    [
        (18.0, True, 2, []),
        (20.0, True, 2, ["inside the interval of the capacity of 2 replicas, 19.0 to 21.0 req/s: another sample"]),
        (22.0, True, 2, ["above the interval of the capacity of 2 replicas, 19.0 to 21.0 req/s: the SLO is kept"]),
        (32.0, False, 3, ["above the interval of the capacity of 3 replicas, 28.5 to 31.5 req/s"]),
        (27.0, False, 3, []),
        (90.0, False, None, []),
    ],
)
def test_a_load_that_is_not_clearly_below_a_capacity_is_told(rate: float, kept: bool, needed: int | None, told: list[str]) -> None:
    load = Load("trace", rate, 2, 100, "", kept, (), False, {}, needed, None, None)
    limit = Limit(1, Interval(10.0, 9.5, 10.5), 0.95, "ttft_p99_s", None, None)
    said = list(_brink((load,), limit))
    assert len(said) == len(told) and all(words in line for words, line in zip(told, said, strict=True))
