"""The engine: requests in, tokens out, one step after another; a policy of the simulator decides, the runner computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.engine.batch import Part
from profiler.engine.driver import Decision, Driver, Served
from profiler.engine.kv import Allocator
from profiler.engine.runner import Runner, Tokens
from profiler.engine.sampling import Sampling, uniform
from profiler.engine.steplog import Recorder
from profiler.engine.verification import Verifier
from simulator.errors import InputError
from simulator.kernel import driven

NOTHING, AWAITED = -1, -1


@dataclass(frozen=True, eq=False)
class Landed:
    """A token that came out, and why it was the request's last one: `stop`, `length`, or None where it was not."""

    served: Served
    token: int
    reason: str | None


@dataclass(frozen=True, eq=False)
class _Flight:
    decision: Decision
    tokens: Tokens
    step: int
    start_s: float


class Engine:
    """One engine on its own clock, in seconds since it began; not for several threads at once."""

    def __init__(
        self,
        driver: Driver,
        runner: Runner,
        allocator: Allocator,
        eos_token_ids: Sequence[int] = (),
        *,
        verifier: Verifier | None = None,
        record: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.driver, self.runner, self.allocator = driver, runner, allocator
        self.verifier = verifier
        self.recorder = Recorder() if record else None
        self._eos = frozenset(eos_token_ids)
        self._sampling: dict[Served, Sampling] = {}
        self._flights: deque[_Flight] = deque()
        # Whom the step that lands made certain.
        self._due: set[Served] = set()
        self._clock, self._began = clock, clock()
        self._free_at = 0.0

    @property
    def now(self) -> float:
        """The engine's clock."""
        return self._clock() - self._began

    def check(self, prompt: Sequence[int], sampling: Sampling) -> None:
        """Raises InputError for tokens or lengths that cannot be served; may be called from any thread."""
        vocabulary = self.runner.model.arch.vocab_size
        wrong = next((token for token in prompt if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise InputError("prompt", wrong, f"token ids from 0 to {vocabulary - 1}")
        self.driver.check(len(prompt), sampling.max_tokens)

    def add(self, prompt: Sequence[int], sampling: Sampling, arrived_at: float | None = None, priority: int = 0) -> Served:
        """Returns the request, put among those that wait; raises InputError for one that cannot be served."""
        self.check(prompt, sampling)
        served = self.driver.add(prompt, sampling.max_tokens, self.now if arrived_at is None else arrived_at, priority)
        self._sampling[served] = sampling
        return served

    def drop(self, served: Served) -> None:
        """Takes a request out before its end."""
        self.driver.drop(served)
        self._forget(served)

    def step(self) -> list[Landed] | None:
        """Puts as many steps in flight as the settings allow and lands the oldest one; returns the tokens that it gave.

        Returns None when there is nothing to do until a request comes or goes.
        """
        while self.driver.has_work and len(self._flights) < self.driver.limits.depth:
            decision = self.driver.decide(self.now)
            if len(decision.parts):
                self._launch(decision)
                continue
            if decision.preempted and self.recorder is not None:
                self.recorder.ran(self.recorder.decided(decision), *(max(decision.at, self._free_at),) * 2)
            # A request that could only preempt itself ends the step; the next one may go on without it.
            if self._flights or not decision.preempted:
                break
        return self._land(self._flights.popleft()) if self._flights else None

    def _launch(self, decision: Decision) -> None:
        step = NOTHING if self.recorder is None else self.recorder.decided(decision)
        rows = decision.parts.tolist()
        parts = [self._part(served, row) for served, row in zip(decision.members, rows, strict=True)]
        sampling = [decision.members[place] for place in decision.sampling]
        ways = [self._sampling[served] for served in sampling]
        # A token's place is behind all that are computed by then.
        places = [rows[place][driven.BEFORE_AT] + rows[place][driven.TOKENS_AT] for place in decision.sampling]
        chances = [uniform(way.seed, place) if way.temperature else 0.0 for way, place in zip(ways, places, strict=True)]
        tokens = self.runner.run(parts, [way.temperature for way in ways], chances)
        self._flights.append(_Flight(decision, tokens, step, max(decision.at, self._free_at)))

    def _part(self, served: Served, row: list[int]) -> Part:
        before, end = row[driven.BEFORE_AT], row[driven.BEFORE_AT] + row[driven.TOKENS_AT]
        known = served.tokens[before:end]
        # What is beyond the landed tokens was sampled by a step in flight.
        tokens = known + [AWAITED] * (end - before - len(known))
        blocks = self.allocator.blocks(self.driver, served, -(-end // self.driver.limits.block_size))
        return Part(tokens, before, blocks, served.row, bool(row[driven.SAMPLED_AT]))

    def _land(self, flight: _Flight) -> list[Landed]:
        tokens = flight.tokens.tolist()
        members = [flight.decision.members[place] for place in flight.decision.sampling]
        if self.verifier is not None:
            tokens = self._verified(self.verifier, flight.decision, members, tokens)
        self._free_at = self.now
        stops = [self._stops(served, token) for served, token in zip(members, tokens, strict=True)]
        got = set(self.driver.land(flight.decision, tokens, stops))
        landed: list[Landed] = []
        for served, token, stop in zip(members, tokens, stops, strict=True):
            if served in got:
                landed += self._told(served, token, ("stop" if stop else "length") if served.ended else None)
        if self.recorder is not None:
            self.recorder.ran(flight.step, flight.start_s, self._free_at)
            self.recorder.finished(flight.step, [each.served.number for each in landed if each.reason])
        return landed

    def _told(self, served: Served, token: int, reason: str | None) -> list[Landed]:
        """Returns what a request gets by a token that landed: that one, or all that it made certain."""
        tokens: Sequence[int] = [token]
        if self.verifier is not None:
            tokens = self.verifier.released(served) if served in self._due or reason else []
        if reason:
            self._forget(served)
        return [Landed(served, each, reason if k == len(tokens) - 1 else None) for k, each in enumerate(tokens)]

    def _verified(self, verifier: Verifier, decision: Decision, members: list[Served], tokens: list[int]) -> list[int]:
        """Returns the tokens to land: a verifier's own for requests whose tokens it has to look at now."""
        for served, part in zip(decision.members, decision.parts.tolist(), strict=True):
            if part[driven.BEFORE_AT] == 0 and not served.ended:
                verifier.anew(served)
        self._due = set()
        right = list(tokens)
        for k, (served, token) in enumerate(zip(members, tokens, strict=True)):
            last = served.produced + 1 == served.max_new_tokens
            if not served.ended and verifier.due(served, last or self._stops(served, token)):
                self._due.add(served)
                blocks = self.allocator.blocks(self.driver, served, -(-len(served.tokens) // self.driver.limits.block_size))
                right[k] = verifier.verified(served, token, blocks, self._sampling[served])
        return right

    def _forget(self, served: Served) -> None:
        self._sampling.pop(served, None)
        if self.verifier is not None:
            self.verifier.forget(served)

    def _stops(self, served: Served, token: int) -> bool:
        return token in self._eos and not served.ended and not self._sampling[served].ignore_eos
