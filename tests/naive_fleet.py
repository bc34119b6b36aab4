"""The clockwork of the oracle: engines that step together, and the one list of all that is going to happen."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.naive_engine import Engine
from tests.naive_nouns import Batch, Knobs, Request, Step
from tests.naive_policies import CHUNKS, FORMS_AT_ARRIVAL, WITHOUT_BUDGET
from tests.naive_prices import clock

MOST_BARREN = 10_000


@dataclass(frozen=True, eq=False)
class Flight:
    """A step under way: when it ends, and what it is to each engine: its record, who takes part, who gets a token."""

    end_s: float
    parts: list[tuple[Engine, Step, list[Request], list[Request]]]


class Group:
    """Engines that take every step together, each stage as long as the slowest of them needs; mostly one engine."""

    def __init__(self, engines: Sequence[Engine], prices: Any, knobs: Knobs) -> None:
        self.engines, self.knobs = engines, knobs
        self.seconds = clock(prices)
        self.stage_free_at = [0.0] * knobs.pipeline_stages
        self.stage_busy_s = [0.0] * knobs.pipeline_stages
        self.flights: deque[Flight] = deque()
        self.wakes_at = math.inf
        self.barren = 0  # decisions since a step landed

    def hear(self, now: float) -> None:
        """Wakes for an arrival: out of sleep; and some form a micro-batch whenever there is room for one."""
        eager = self.knobs.scheduler in FORMS_AT_ARRIVAL and len(self.flights) < self.knobs.steps_in_flight
        if self.wakes_at == math.inf or eager:
            self.wakes_at = min(self.wakes_at, now)

    def due(self, now: float) -> bool:
        """Returns whether the oldest step under way has ended."""
        return bool(self.flights) and now >= self.flights[0].end_s

    def land(self) -> list[Request]:
        """Hands the tokens of the oldest step out, and returns the requests that finished."""
        self.barren = 0
        return [request for part in self.flights.popleft().parts for request in part[0].end(*part[1:])]

    def step(self, now: float) -> None:
        """Decides the next step, and when to decide again."""
        self.barren += 1
        if self.barren > MOST_BARREN:
            raise RuntimeError("requests preempt each other for ever")
        batches = [engine.decide(now) for engine in self.engines]
        preempted = any(engine.preempted_now for engine in self.engines)
        if any(batches) or preempted:
            self.launch(batches, now)
        full = len(self.flights) == self.knobs.steps_in_flight
        if any(batches) and not full:
            self.wakes_at = now
        elif self.flights:
            self.wakes_at = self.flights[0].end_s
        else:
            # One that could only preempt itself ends the decision; the next one may go on without it.
            self.wakes_at = now if preempted else math.inf

    def launch(self, batches: Sequence[Batch], now: float) -> None:
        """Sends the step through the stages, behind the steps that are there; without any token it takes no time."""
        work = [engine.work(batch) for engine, batch in zip(self.engines, batches, strict=True)]
        sampled = [engine.sampled(batch) for engine, batch in zip(self.engines, batches, strict=True)]
        steps = [engine.begin(batch) for engine, batch in zip(self.engines, batches, strict=True)]
        seconds = [self.seconds(w, len(s)) if w else [0.0] * self.knobs.pipeline_stages for w, s in zip(work, sampled, strict=True)]
        if not any(batches):
            for step in steps:
                step.start_s = step.end_s = max(now, self.stage_free_at[-1])
            return
        ready, bubble_s, last_end = now, 0.0, self.stage_free_at[-1]
        for stage, free_at in enumerate(self.stage_free_at):
            start = max(ready, free_at)
            if self.flights:
                bubble_s += start - free_at
            ready = start + max(s[stage] for s in seconds)
            self.stage_free_at[stage] = ready
            self.stage_busy_s[stage] += sum(s[stage] for s in seconds)
            for step in steps:
                step.stages.append((start, ready))
        for engine, step, own in zip(self.engines, steps, seconds, strict=True):
            step.start_s, step.end_s = step.stages[0][0], ready
            engine.busy_s += sum(own)
            engine.bubble_s += bubble_s / self.knobs.pipeline_stages
            engine.block_seconds += (ready - max(now, last_end)) * (self.knobs.kv_blocks - step.free_blocks)
        parts = [
            (engine, step, list(batch), own) for engine, step, batch, own in zip(self.engines, steps, batches, sampled, strict=True)
        ]
        self.flights.append(Flight(ready, parts))


Route = Callable[["Fleet", Request], "int | None"]


class Fleet:
    """All engines behind one router and one API server, and the events to come."""

    engine_type: type[Engine] = Engine
    group_type: type[Group] = Group

    def __init__(self, knobs: Knobs, prices: Any, requests: Sequence[Request], replicas: int, route: Route) -> None:
        self.knobs, self.requests, self.route = knobs, requests, route
        self.engines = [self.engine_type(knobs, number) for number in range(replicas * knobs.group)]
        firsts = range(0, len(self.engines), knobs.group)
        self.groups = [self.group_type(self.engines[first : first + knobs.group], prices, knobs) for first in firsts]
        self.held: list[Request] = []
        self.api_free_at = 0.0
        self.routed = 0
        self.order = count()
        self.events: list[tuple[float, int, Callable[[Request, float], None], Request]] = []
        for request in requests:
            if request.after < 0:
                self.expect(request.arrived_at, self.arrive, request)

    def expect(self, at: float, what: Callable[[Request, float], None], request: Request) -> None:
        """Notes something that is going to happen."""
        heapq.heappush(self.events, (at, next(self.order), what, request))

    def serve(self) -> None:
        """Lets everything happen in order of time, what comes from outside first; raises RuntimeError when some are stuck."""
        while True:
            group = min(self.groups, key=lambda g: g.wakes_at)
            if self.events and self.events[0][0] <= group.wakes_at:
                at, _, happen, request = heapq.heappop(self.events)
                happen(request, at)
            elif group.wakes_at < math.inf:
                self.turn(group, group.wakes_at)
            elif self.held or any(engine.running or engine.waiting for engine in self.engines):
                raise RuntimeError("requests are left for ever")
            else:
                return

    def turn(self, group: Group, now: float) -> None:
        """Lands a group's oldest step if it has ended, then lets it decide the next one."""
        if group.due(now):
            for request in group.land():
                self.ended(request, request.token_times[-1])
            self.ask_again(now)
        group.step(now)

    def arrive(self, request: Request, now: float) -> None:
        """A request comes in: it is refused, or stands behind others at the API server."""
        request.arrived_at = now
        if never_fits(self.knobs, request):
            request.rejected = True
            self.ended(request, now)
            return
        if request.cancel_after_s < math.inf:
            self.expect(now + request.cancel_after_s, self.cancel, request)
        cost = self.knobs.api_s_per_request + self.knobs.api_s_per_prompt_token * request.prompt
        if cost > 0:
            self.api_free_at = max(now, self.api_free_at) + cost
            self.expect(self.api_free_at, self.reach, request)
        else:
            self.reach(request, now)

    def reach(self, request: Request, now: float) -> None:
        """A request reaches the router, or stands behind those that it holds back."""
        if not request.over:
            self.held.append(request)
            if len(self.held) == 1:
                self.ask_again(now)

    def ask_again(self, now: float) -> None:
        """Asks the router for a place for those that it holds back, in order, until it has none for one of them."""
        while self.held:
            chosen = self.route(self, self.held[0])
            if chosen is None:
                return
            request = self.held.pop(0)
            request.replica = chosen
            self.engines[chosen].enqueue(request)
            self.groups[chosen // self.knobs.group].hear(now)

    def cancel(self, request: Request, now: float) -> None:
        """A request that is not finished by now is dropped, wherever it is; its tokens under way are lost."""
        if request.over:
            return
        if request.expires:
            request.expired = True
        else:
            request.cancelled = True
        if request.replica >= 0:
            self.engines[request.replica].leave(request)
        elif request in self.held:
            self.held.remove(request)
        self.ended(request, now)
        self.ask_again(now)

    def ended(self, request: Request, at: float) -> None:
        """Who follows a request arrives a while after its end."""
        for follower in self.requests:
            if follower.after == request.number:
                self.expect(at + follower.think_s, self.arrive, follower)


def never_fits(knobs: Knobs, request: Request) -> bool:
    """Returns whether a request is longer than the engine allows, than the pool, or than a step that must hold it whole."""
    total = request.prompt + request.output
    room = (knobs.kv_blocks - knobs.watermark_blocks) * knobs.block_size
    if total > min(knobs.max_model_len, room):
        return True
    return knobs.scheduler not in (CHUNKS | WITHOUT_BUDGET) and total > knobs.max_num_batched_tokens
