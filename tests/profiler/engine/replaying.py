"""The driver on a clock of its own: each step takes what a linear price says, and tokens come out as the traffic has them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from profiler.engine.driver import Decision, Driver, Served
from profiler.engine.steplog import Recorder
from simulator.content import Content
from simulator.outcome import StepLog
from simulator.traffic import Traffic

Price = Callable[[Decision], float]


def linear(base_s: float, per_token_s: float, per_kv_token_s: float) -> Price:
    """Returns the seconds of a step as the source `linear` prices it."""
    return lambda decision: base_s + per_token_s * decision.tokens + per_kv_token_s * decision.kv_tokens


class Texts:
    """Tokens such that blocks are equal where the traffic says so: each is the number of its block, or nobody else's."""

    def __init__(self, traffic: Traffic, block_size: int) -> None:
        self.traffic, self.block_size = traffic, block_size
        self.content: Content | None = traffic.content_for(block_size)

    def token(self, request: int, place: int) -> int:
        """Returns the token of a request at a place."""
        ids = self.content.of(request) if self.content is not None else ()
        block = place // self.block_size
        return int(ids[block]) if block < len(ids) else -1 - request * 1_000_000 - place


def replay(driver: Driver, traffic: Traffic, price: Price, shares: Sequence[float] = (1.0,)) -> StepLog:
    """Returns the steps in which the driver serves the traffic on its own clock, each ending when its price is paid.

    In a pipeline each stage takes its share of the price, once the step has left the stage before and the last step this one.
    """
    recorder, texts = Recorder(), Texts(traffic, driver.limits.block_size)
    flights: deque[tuple[Decision, int, float]] = deque()
    arriving, wake_at, free_at = 0, math.inf, [0.0] * len(shares)
    while True:
        outside = float(traffic.arrival_s[arriving]) if arriving < len(traffic) else math.inf
        if outside <= wake_at:
            if outside == math.inf:
                return recorder.log()
            prompt = [texts.token(arriving, place) for place in range(int(traffic.prompt_tokens[arriving]))]
            driver.add(prompt, int(traffic.output_tokens[arriving]), outside, int(traffic.priority[arriving]))
            # Who asks is asleep, or has room for a micro-batch of its own: others look when the oldest step ends.
            if wake_at == math.inf or (driver.limits.own_micro_batch and len(flights) < driver.limits.depth):
                wake_at = outside
            arriving += 1
            continue
        now = wake_at
        if flights and now >= flights[0][2]:
            land(driver, recorder, texts, *flights.popleft()[:2])
        elif len(flights) == driver.limits.depth:
            wake_at = flights[0][2]
            continue
        if not driver.has_work:
            wake_at = flights[0][2] if flights else math.inf
            continue
        decision = driver.decide(now)
        step, start = NOTHING, max(now, free_at[0])
        if len(decision.parts) or decision.preempted:
            step = recorder.decided(decision)
            recorder.ran(step, start, start)
        if len(decision.parts):
            end = start
            for stage, share in enumerate(shares):
                end = free_at[stage] = max(end, free_at[stage]) + share * price(decision)
            recorder.ran(step, start, end)
            flights.append((decision, step, end))
            wake_at = flights[0][2] if len(flights) == driver.limits.depth else now
        elif flights:
            wake_at = flights[0][2]
        elif not decision.preempted:
            wake_at = math.inf


NOTHING = -1


def land(driver: Driver, recorder: Recorder, texts: Texts, decision: Decision, step: int) -> None:
    """Gives each request that sampled its next token, and writes who ended."""
    sampling = [decision.members[place] for place in decision.sampling]
    tokens = [texts.token(served.number, len(served.tokens)) for served in sampling]
    got: list[Served] = driver.land(decision, tokens, [False] * len(tokens))
    recorder.finished(step, [served.number for served in got if served.ended])


def rows(log: Any) -> Any:
    """Returns the rows of a step log as they would be written, without their times; and their times."""
    import numpy as np

    from simulator.steps import TIMES, step_rows

    written = list(step_rows(log, np.arange(1_000_000)))
    return [(row[0], *row[4:]) for row in written], np.array([log.steps[name] for name in TIMES])
