"""The load generator against a server whose every answer is known."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.load.client import Reply
from profiler.load.events import Events
from profiler.load.faults import LoadFault, Malformed
from profiler.load.generate import Options, run_async
from profiler.load.lag import Lag, lag_of
from profiler.load.measured import Measured, outcome_of_replies
from profiler.load.prompts import Prompts
from profiler.load.target import Target
from simulator.draw import draw
from simulator.measure import latencies
from simulator.measure.ranks import distribution
from simulator.spec.workload import Workload
from simulator.traffic import Traffic
from tests.profiler.load.fake import Fake, serving

LENGTHS = {"prompt_tokens": {"uniform": {"low": 5, "high": 40}}, "output_tokens": {"uniform": {"low": 1, "high": 6}}}


def traffic(count: int = 12, **more: Any) -> Traffic:
    return draw(Workload.parse({**LENGTHS, "num_requests": count, "seed": 3, **more}), None, 3)


def measure(fake: Fake, sent: Traffic, rate: float | None = 50.0, silence_s: float = 30.0, **how: Any) -> Measured:
    async def go() -> Measured:
        async with serving(fake, **how) as target:
            return await run_async(target, sent, rate, Options(vocabulary=500, silence_s=silence_s, warmup=1))

    return asyncio.run(go())


@pytest.mark.alone
def test_requests_are_sent_at_their_times_with_their_lengths() -> None:
    fake, sent = Fake(), traffic()
    found = measure(fake, sent)
    # A first request tells what the server understands, a second one warms it up.
    measured = fake.arrived[2:]
    at = np.array([when for when, _ in measured])
    due = sent.at(50.0)
    # What is late beyond the lag that it told was late on its way; a busy machine may take its time for that.
    late = (at - at.min()) - (due - due.min())
    assert np.median(np.abs(late)) < 0.05 + 2 * found.lag.max_s and np.all(np.diff(at) >= 0)
    assert sorted(len(body["prompt"]) for _, body in measured) == sorted(sent.prompt_tokens.tolist())
    assert all(3 <= token < 500 for _, body in measured for token in body["prompt"])
    assert found.outcome.output_tokens.tolist() == sent.output_tokens.tolist()
    assert not found.faults and not found.prompt_mismatches and not found.output_mismatches and not found.uncounted


@pytest.mark.alone
def test_latencies_are_those_that_the_server_stamped() -> None:
    fake, sent = Fake(first_s=0.05, gap_s=0.02), traffic(output_tokens={"fixed": 5})
    found = measure(fake, sent)
    metrics = found.metrics()
    stamps = [np.diff(times) for times in fake.times.values() if len(times) == 5]
    gaps = np.concatenate(stamps)
    assert metrics.itl_s.mean == pytest.approx(gaps.mean(), rel=0.05)
    assert metrics.ttft_s.p50 is not None and 0.05 <= metrics.ttft_s.p50 < 0.09
    assert metrics.queue_s.mean is None and metrics.mfu is None
    assert metrics.requests == len(sent) and metrics.rejected == 0


def test_a_closed_loop_keeps_its_users_and_no_more() -> None:
    fake = Fake(first_s=0.01, gap_s=0.001)
    found = measure(fake, traffic(20, users=3), None)
    assert fake.most == 3 and len(fake.arrived) == 22
    assert found.metrics().requests == 20 and not found.faults


FAULTS = [
    ("500", "refused"),
    ("malformed", "malformed"),
    ("dies", "lost"),
    pytest.param("silent", "silent", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_every_fault_is_a_record(fault: str, kind: str) -> None:
    sent, silence_s = traffic(4, output_tokens={"fixed": 5}), 0.5 if fault == "silent" else 30.0

    async def go() -> Measured:
        # A first request tells what the server understands, a second one warms it up: what follows is not answered.
        async with serving(Fake(fault=fault, healthy=2)) as target:
            return await run_async(target, sent, 40.0, Options(vocabulary=500, silence_s=silence_s, warmup=1))

    found = asyncio.run(go())
    assert found.faults == {kind: 4} and found.reasons[kind]
    assert found.outcome.rejected.all() and found.metrics().rejected == 4


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    async def go() -> None:
        await run_async(Target("http://127.0.0.1:9", "nobody"), traffic(2), 10.0)

    with pytest.raises(LoadFault, match="Connect"):
        asyncio.run(go())


def test_chats_take_texts_whose_length_the_server_tells() -> None:
    fake, sent = Fake(), traffic(6)
    found = measure(fake, sent, api="chat", prompt="text")
    # What stands around a prompt counts, and no prompt is shorter than a word.
    assert found.prompt_mismatches == int((sent.prompt_tokens < 6).sum())
    assert not found.faults and not found.output_mismatches


def test_several_tokens_in_an_event_are_counted_by_the_usage() -> None:
    found = measure(Fake(bundle=3), traffic(6, output_tokens={"fixed": 6}))
    assert not found.output_mismatches and found.outcome.output_tokens.tolist() == [6] * 6


def test_answers_without_counts_are_told() -> None:
    found = measure(Fake(counts=False), traffic(5))
    assert found.uncounted == 5 and not found.output_mismatches


def test_users_who_give_up_are_dropped() -> None:
    fake = Fake(first_s=0.3)
    found = measure(fake, traffic(6, cancellation={"share": 1.0, "after_s": {"fixed": 0.05}}))
    assert found.metrics().cancelled == 6 and not found.faults


def test_a_late_schedule_is_not_kept() -> None:
    ttft = distribution(np.full(100, 0.05))
    assert Lag(0.001, 0.004, 0.02, 0.003, 0.01).kept(ttft)
    assert not Lag(0.02, 0.004, 0.02, 0.003, 0.01).kept(ttft)
    assert not Lag(0.001, 0.03, 0.04, 0.003, 0.01).kept(ttft)
    assert not Lag(0.001, 0.004, 0.02, 0.03, 0.04).kept(ttft)
    assert lag_of(np.array([0.001, 0.003]), [0.0]).mean_s == pytest.approx(0.002)


@pytest.mark.slow
@pytest.mark.alone
def test_two_thousand_streams_at_once() -> None:
    fake = Fake(first_s=6.0, gap_s=0.5)
    found = measure(fake, traffic(2000, output_tokens={"fixed": 3}), 500.0, silence_s=60.0)
    assert fake.most >= 1900 and not found.faults
    assert found.metrics().requests == 2000


def test_equal_content_is_equal_tokens_and_other_content_is_not() -> None:
    shared = {"groups": 1, "shared_tokens": {"fixed": 32}}
    sent = traffic(5, prompt_tokens={"fixed": 48}, prefix=shared)
    prompts = Prompts(sent, 500, block_size=16)
    tokens = [prompts.tokens(k) for k in range(5)]
    assert all(each[:32] == tokens[0][:32] for each in tokens)
    assert len({tuple(each[32:]) for each in tokens}) == 5
    assert Prompts(sent, 500, 16).tokens(2) == tokens[2] and Prompts(sent, 500, 16, seed=1).tokens(2) != tokens[2]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 7))
def test_events_are_read_however_they_are_cut(sizes: list[int], step: int) -> None:
    documents = [{"n": k, "text": "ü" * size} for k, size in enumerate(sizes)]
    stream = b": hello\r\n" + b"".join(b"data: " + json.dumps(d, ensure_ascii=False).encode() + b"\n\n" for d in documents)
    stream += b"data: [DONE]\n\n"
    events = Events()
    found = [each for at in range(0, len(stream), step) for each in events.feed(stream[at : at + step])]
    assert found == documents and events.done


@pytest.mark.parametrize("line", [b"hello\n", b"data: [1]\n", b"data: {\n"])
def test_what_is_no_event_is_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        Events().feed(line)


TIMES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 10), TIMES), min_size=1, max_size=10))
def test_metrics_are_those_of_the_timestamps(sent: list[tuple[float, list[float]]]) -> None:
    replies = []
    for at, gaps in sent:
        times = (at + np.cumsum(gaps)).tolist()
        replies.append(Reply(at, at, times, [1] * len(times), times[-1], 4, len(times)))
    counts = np.array([len(reply.times) for reply in replies], np.int64)
    arrivals = np.zeros(len(replies))
    of = Traffic(arrivals, np.full(len(replies), 4, np.int64), counts, np.zeros(len(replies), np.int64), 1.0)
    outcome = outcome_of_replies(of, replies, 0.0)
    found = latencies(outcome)
    assert found["ttft_s"] == pytest.approx([gaps[0] for _, gaps in sent])
    assert found["e2e_s"] == pytest.approx([sum(gaps) for _, gaps in sent])
    several = [np.mean(gaps[1:]) for _, gaps in sent if len(gaps) > 1]
    assert found["tpot_s"] == pytest.approx(several)
    assert np.sort(outcome.gap_sum) == pytest.approx(np.sort(np.concatenate([gaps[1:] for _, gaps in sent])))
