"""Draws of classes, sessions, closed loops, prefixes and impatient users: what each of them promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.content import Texts
from simulator.draw import draw, own_rate
from simulator.errors import InputError
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

FIXED = {"prompt_tokens": 100, "output_tokens": 20}
SESSIONS = {
    "turns": {"uniform": {"low": 1, "high": 9}},
    "new_tokens": {"lognormal": {"median": 30, "sigma": 0.7, "max": 300}},
    "think_time_s": {"exponential": {"mean": 5}},
}
ARRAYS = ("arrival_s", "prompt_tokens", "output_tokens", "priority", "class_of", "session", "after", "think_s", "cancel_after_s")


def drawn(data: dict[str, Any], count: int = 1000, seed: int = 0, **options: bool) -> Traffic:
    return draw(Workload.parse(data), count, seed, **options)


def same(first: Traffic, second: Traffic) -> bool:
    return all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in ARRAYS)


def texts_of(traffic: Traffic) -> Texts:
    assert isinstance(traffic.content, Texts)
    return traffic.content


TWO = {
    "chat": {"share": 0.7, "preset": "chat", "priority": -1},
    "batch": {"share": 0.3, "prompt_tokens": 10, "output_tokens": {"uniform": {"low": 3, "high": 5}}, "deadline_s": 60},
}


@pytest.mark.parametrize("count", [1, 10, 999, 1000])
def test_classes_have_exactly_their_shares_and_their_own_requests(count: int) -> None:
    traffic = drawn({"classes": TWO, "deadline_s": 5}, count)
    chat, batch = (traffic.class_of == number for number in (0, 1))
    assert traffic.class_names == ("chat", "batch")
    assert abs(chat.sum() - 0.7 * count) < 1 and (chat | batch).all()
    assert set(traffic.prompt_tokens[batch].tolist()) <= {10} and set(traffic.output_tokens[batch].tolist()) <= {3, 4, 5}
    assert (traffic.priority[chat] == -1).all() and (traffic.priority[batch] == 0).all()
    # What a class does not state is the workload's.
    assert (traffic.cancel_after_s[chat] == 5).all() and (traffic.cancel_after_s[batch] == 60).all() and traffic.expires.all()
    assert same(traffic, drawn({"classes": TWO, "deadline_s": 5}, count))


def test_classes_come_in_random_order_and_have_their_own_randomness() -> None:
    chat = drawn({"classes": TWO}, 2000)
    assert (np.diff(chat.class_of) != 0).mean() == pytest.approx(2 * 0.7 * 0.3, abs=0.05)
    more = {**TWO, "batch": {**TWO["batch"], "prompt_tokens": 11}}
    other = drawn({"classes": more}, 2000)
    assert (chat.prompt_tokens[chat.class_of == 0] == other.prompt_tokens[other.class_of == 0]).all()
    alike = {"a": {"share": 0.5}, "b": {"share": 0.5}}
    twins = drawn({"preset": "chat", "classes": alike}, 2000)
    assert not np.array_equal(twins.prompt_tokens[twins.class_of == 0], twins.prompt_tokens[twins.class_of == 1])


@given(
    turns=st.integers(1, 30),
    most=st.one_of(st.none(), st.integers(2, 400)),
    reset=st.sampled_from([0.0, 0.2]),
    count=st.integers(1, 150),
    seed=st.integers(0, 2**40),
    stratified=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_sessions_keep_the_laws(turns: int, most: int | None, reset: float, count: int, seed: int, stratified: bool) -> None:
    sessions = {**SESSIONS, "turns": {"uniform": {"low": 1, "high": turns}}, "max_context_tokens": most, "reset_share": reset}
    data = {"prompt_tokens": {"uniform": {"low": 1, "high": 200}}, "output_tokens": {"uniform": {"low": 1, "high": 50}}}
    traffic = drawn({**data, "sessions": sessions}, count, seed, stratified=stratified)
    begins = traffic.after < 0
    assert len(traffic) == count and begins[0] and traffic.session.min() == 0
    assert (traffic.after[~begins] == np.flatnonzero(~begins) - 1).all()
    assert (traffic.session[~begins] == traffic.session[traffic.after[~begins]]).all()
    assert (np.diff(traffic.session) == begins[1:]).all() and np.bincount(traffic.session).max() <= turns
    assert (traffic.arrival_s[~begins] == 0).all() and (np.diff(traffic.arrival_s[begins]) >= 0).all()
    assert (traffic.think_s[begins] == 0).all() and (traffic.think_s >= 0).all()
    assert min(traffic.prompt_tokens.min(), traffic.output_tokens.min()) >= 1
    total = traffic.prompt_tokens + traffic.output_tokens
    assert most is None or total.max() <= most
    text = texts_of(traffic).text
    later = np.flatnonzero(np.diff(text, prepend=-1) == 0)
    assert (traffic.prompt_tokens[later] > total[later - 1]).all()
    if most is None and reset == 0:
        assert (np.diff(text, prepend=-1) == begins).all()
    assert same(traffic, drawn({**data, "sessions": sessions}, count, seed, stratified=stratified))


def test_a_turn_has_the_history_and_new_tokens_in_its_prompt() -> None:
    sessions = {"turns": 4, "new_tokens": 7, "think_time_s": 2.5, "max_context_tokens": 200}
    traffic = drawn({**FIXED, "sessions": sessions}, 8)
    assert traffic.prompt_tokens.tolist() == [100, 127, 154, 107] * 2
    assert traffic.think_s.tolist() == [0, 2.5, 2.5, 2.5] * 2 and texts_of(traffic).text.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    blocks = traffic.content_for(10)
    assert blocks is not None and blocks.of(1)[:12].tolist() == blocks.of(0).tolist()
    assert not set(blocks.of(3).tolist()) & set(blocks.of(2).tolist())
    shorter = drawn({**FIXED, "sessions": sessions, "max_context_tokens": 130}, 8)
    assert shorter.prompt_tokens.tolist() == [100, 107, 107, 107] * 2


def test_sessions_begin_at_as_many_a_second_as_make_the_rate() -> None:
    traffic = drawn({**FIXED, "sessions": {**SESSIONS, "turns": 5}}, 1000)
    starts = traffic.arrival_s[traffic.after < 0]
    assert len(starts) == 200 and traffic.rate_rps == 1 and 5 * (len(starts) - 1) / starts[-1] == pytest.approx(1)
    faster = traffic.at(10.0)
    assert faster[traffic.after < 0] == pytest.approx(starts / 10) and (faster[traffic.after >= 0] == 0).all()


def test_classes_with_sessions_have_about_their_share_of_the_requests() -> None:
    classes = {"talk": {"share": 0.5, **FIXED, "sessions": SESSIONS}, "single": {"share": 0.5, **FIXED}}
    traffic = drawn({"classes": classes}, 5000)
    assert (traffic.class_of == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert ((traffic.session >= 0) == (traffic.class_of == 0)).all()


@pytest.mark.parametrize("users", [1, 3, 50, 200])
def test_users_send_one_request_at_a_time(users: int) -> None:
    data = {"preset": "chat", "users": users, "think_time_s": {"exponential": {"mean": 3}}}
    traffic = drawn(data, 100)
    assert traffic.users == users and traffic.rate_rps == 0
    assert traffic.after.tolist() == [max(row - users, -1) for row in range(100)]
    first = traffic.arrival_s[:users]
    assert (np.diff(first) >= 0).all() and (traffic.arrival_s[users:] == 0).all()
    assert sorted(first.tolist()) == sorted(traffic.think_s[:users].tolist())
    # The same requests whatever the number of users.
    other = drawn({**data, "users": 7}, 100)
    assert (traffic.prompt_tokens == other.prompt_tokens).all() and same(other, traffic.with_users(7))
    with pytest.raises(InputError, match=r"^workload\.rate_rps: 2\.0"):
        traffic.at(2.0)


def test_a_user_has_one_session_after_the_other() -> None:
    traffic = drawn({**FIXED, "sessions": {**SESSIONS, "turns": 3, "think_time_s": 1}, "users": 2, "think_time_s": 9}, 12)
    assert traffic.after.tolist() == [-1, 0, 1, -1, 3, 4, 2, 6, 7, 5, 9, 10]
    assert traffic.think_s.tolist() == [9, 1, 1] * 4 and traffic.arrival_s.tolist() == [9, 0, 0, 9] + [0] * 8


def test_a_trace_is_sent_by_users(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens,session\n0,10,1,a\n1,20,2,b\n5,30,3,a\n")
    traffic = drawn({"trace": str(path), "users": 2}, 5)
    assert traffic.prompt_tokens[:3].tolist() == [10, 20, 30] and traffic.after.tolist() == [-1, -1, 0, 1, 2]
    assert traffic.session[:3].tolist() == [0, 1, 0] and own_rate(Workload(trace=str(path), users=2)) is None


@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_groups_are_as_popular_as_they_are_said_to_be(zipf: float) -> None:
    prefix = {"shared_tokens": {"uniform": {"low": 40, "high": 60}}, "groups": 4, "zipf": zipf}
    traffic = drawn({**FIXED, "prefix": prefix}, 3000)
    texts = texts_of(traffic)
    weights = (1.0 + np.arange(4)) ** -zipf
    assert np.abs(np.bincount(texts.group) - 3000 * weights / weights.sum()).max() < 1
    assert len(set(zip(texts.group.tolist(), texts.shared_tokens.tolist(), strict=True))) == 4
    blocks = traffic.content_for(10)
    assert blocks is not None and blocks is traffic.content_for(10)
    first = [blocks.of(row)[:4].tolist() for row in range(3000)]
    assert len({tuple(ids) for ids in first}) == 4
    assert len(set(blocks.ids.tolist())) < 3000 * 12 - 2990 * 4


def test_a_prompt_shorter_than_its_system_prompt_lies_within_it() -> None:
    traffic = drawn({"prompt_tokens": {"uniform": {"low": 1, "high": 30}}, "output_tokens": 5, "prefix": {"shared_tokens": 20}})
    assert (texts_of(traffic).shared_tokens == np.minimum(traffic.prompt_tokens, 20)).all()
    assert drawn(FIXED).content is None and drawn(FIXED).content_for(16) is None


def test_users_give_up_and_operators_drop() -> None:
    cancellation = {"share": 0.2, "after_s": {"uniform": {"low": 5, "high": 15}}}
    traffic = drawn({**FIXED, "cancellation": cancellation}, 1000)
    gone = np.isfinite(traffic.cancel_after_s)
    assert gone.sum() == 200 and not traffic.expires.any() and traffic.cancel_after_s.min() >= 5
    both = drawn({**FIXED, "cancellation": cancellation, "deadline_s": 10}, 1000)
    assert both.cancel_after_s.max() == 10 and both.expires.sum() == pytest.approx(900, abs=2)
    assert (both.cancel_after_s[~both.expires] < 10).all()
    assert (both.arrival_s == traffic.arrival_s).all() and (both.prompt_tokens == traffic.prompt_tokens).all()


def trace_with_classes(folder: Path) -> str:
    path = folder / "t.csv"
    rows = ["0,0,1,chat,5,", "1,64,16,chat,5,0-3 9", "2,40,8,batch,7,0-2"]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens,class,priority,block_ids", *rows]))
    return str(path)


def test_the_classes_of_a_trace_have_deadlines_and_priorities(tmp_path: Path) -> None:
    path = trace_with_classes(tmp_path)
    traffic = drawn({"trace": path, "classes": {"batch": {"deadline_s": 3, "priority": 1}}}, 2)
    assert traffic.class_names == ("chat", "batch") and traffic.class_of.tolist() == [0, 1] and traffic.row.tolist() == [1, 2]
    assert traffic.priority.tolist() == [5, 1] and traffic.cancel_after_s.tolist() == [np.inf, 3]
    blocks = traffic.content_for(16)
    assert blocks is not None and blocks.of(0)[:3].tolist() == blocks.of(1).tolist()
    with pytest.raises(InputError, match=r"^workload\.classes\.bath: 'bath' .*batch, chat"):
        drawn({"trace": path, "classes": {"bath": {"deadline_s": 3}}})


def test_a_row_that_comes_again_is_another_request(tmp_path: Path) -> None:
    traffic = drawn({"trace": trace_with_classes(tmp_path)}, 20)
    blocks = traffic.content_for(16)
    assert blocks is not None
    for row in (1, 2):
        taken = [set(blocks.of(place).tolist()) for place in np.flatnonzero(traffic.row == row).tolist()]
        assert len(taken) > 5 and len(set.union(*taken)) == sum(map(len, taken))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"preset": "chat", "users": 2, "rate_rps": 1.0}, r"^workload\.rate_rps: 1\.0 .*none with users"),
        ({"preset": "chat", "users": 2, "arrival": {"process": "poisson"}}, r"^workload\.arrival: 'poisson' .*none with users"),
        ({"preset": "chat", "users": 0}, r"^workload\.users: 0"),
        ({"preset": "chat", "think_time_s": 1}, r"^workload\.think_time_s: .*none without users"),
        ({"trace": "t", "sessions": {**SESSIONS}}, r"^workload\.sessions: .*none with a trace"),
        ({"trace": "t", "classes": {"a": {"share": 0.5}}}, r"^workload\.classes\.a\.share: 0\.5 .*none with a trace"),
        ({"preset": "chat", "classes": {"a": {}}}, r"^workload\.classes\.a\.share: None .*a share of the requests"),
        ({"preset": "chat", "classes": {"a": {"share": 0.5}}}, r"^workload\.classes: \[0\.5\] .*sum to 1 \(these sum to 0\.5\)"),
        ({"preset": "chat", "classes": {"a.b": {"share": 1.0}}}, r"^workload\.classes: 'a\.b' .*letters"),
        ({"preset": "chat", "classes": {}}, r"^workload\.classes: "),
        ({"classes": {"a": {"share": 1.0}}}, r"^workload: \[\] .*exactly one of preset, trace"),
        ({"preset": "chat", "classes": {"a": {"share": 1.0, "weight": 3}}}, r"a\.weight \(unknown field\): 3 .*deadline_s.*share"),
        ({"preset": "chat", "classes": {"a": {"share": 1.0, "preset": "chta"}}}, r"^workload\.classes\.a\.preset: 'chta' .*chat"),
        ({"preset": "chat", "max_context_tokens": 100}, r"^workload\.max_context_tokens: 100 .*none without sessions"),
        ({**FIXED, "sessions": {"turns": 3, "new_tokens": 4}}, r"^workload\.sessions\.think_time_s: missing"),
        ({**FIXED, "cancellation": {"share": 1.5, "after_s": 3}}, r"^workload\.cancellation\.share: 1\.5"),
        ({**FIXED, "cancellation": {"share": 0.5, "after_s": -3}}, r"^workload\.cancellation\.after_s"),
        ({**FIXED, "deadline_s": 0}, r"^workload\.deadline_s: 0"),
    ],
)
def test_wrong_kinds_are_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(Workload.parse(data, "workload"), 10, 0)
