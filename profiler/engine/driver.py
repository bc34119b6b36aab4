"""The driver: puts requests before a policy of simulator/schedulers and does with them what it decides, in any time.

It holds the simulator's records of one engine and lets the simulator's kernels change them. It knows neither the model
nor the clock: whoever drives it says what time it is, runs the step, and says which tokens came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.engine import records
from profiler.engine.contents import Contents
from simulator.errors import InputError
from simulator.kernel import driven
from simulator.kernel.engine import Limits
from simulator.kernel.jit import entry
from simulator.kernel.records import CANCELLED, FINISHED, NOBODY, Cache

FIRST_ROOM = 64
Ints = NDArray[np.int64]


@dataclass(eq=False)
class Served:
    """A request in the driver: its row of the records, its prompt and the tokens that landed after it, and whether it ended.

    `cached_tokens` of its prompt were in the prefix cache when it was first admitted; None before.
    """

    row: int
    number: int
    prompt_tokens: int
    max_new_tokens: int
    tokens: list[int]
    ended: bool = False
    cached_tokens: int | None = None

    @property
    def produced(self) -> int:
        """The tokens that landed."""
        return len(self.tokens) - self.prompt_tokens


@dataclass(frozen=True, eq=False)
class Decision:
    """A step: when it was decided, parts[n, COLUMNS] as `driven.launch` fills them, and whose blocks were taken away.

    num_running, num_waiting and free_blocks are those after the decision; `members` are who the n parts belong to.
    """

    at: float
    parts: Ints
    members: tuple[Served, ...]
    preempted: tuple[int, ...]
    num_running: int
    num_waiting: int
    free_blocks: int

    @property
    def tokens(self) -> int:
        """The tokens that the step computes."""
        return int(self.parts[:, driven.TOKENS_AT].sum())

    @property
    def kv_tokens(self) -> int:
        """The computed tokens of all that take part, after it."""
        return self.tokens + int(self.parts[:, driven.BEFORE_AT].sum())

    @cached_property
    def sampling(self) -> list[int]:
        """The places of the parts that sample, in their order."""
        return np.flatnonzero(self.parts[:, driven.SAMPLED_AT]).tolist()


@dataclass
class Driver:
    """One engine's records under one policy."""

    limits: Limits
    policy: ModuleType
    served: dict[int, Served] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        if self.limits.group > 1:
            raise InputError("data_parallel_size", self.limits.group, "1: engines that step together are not driven")
        limits = self.limits
        self.config, self.replica = records.config_of(limits), records.replica_of(limits)
        self.running = records.running_of(limits)
        self.requests = records.requests_of(FIRST_ROOM)
        self.contents = Contents(limits.block_size, limits.max_model_len // limits.block_size)
        self.cache = records.cache_of(limits, FIRST_ROOM * self.contents.blocks)
        self._free_rows = list(range(FIRST_ROOM))
        self._parts = np.zeros((limits.max_num_seqs, driven.COLUMNS), dtype=np.int64)
        self._schedule = entry(self.policy.schedule)
        self._arrive, self._launch = entry(driven.arrive), entry(driven.launch)
        self._land, self._leave = entry(driven.land), entry(driven.leave)

    @property
    def in_flight(self) -> int:
        """The steps that have not landed."""
        return int(self.replica["in_flight"][0])

    @property
    def has_work(self) -> bool:
        """Whether any request runs or waits."""
        return bool(self.replica["num_running"][0] or self.replica["num_waiting"][0])

    # Requests

    def check(self, prompt_tokens: int, max_new_tokens: int) -> None:
        """Raises InputError for a request that the engine could never serve: the rule by which a simulation rejects it."""
        limits, total = self.limits, prompt_tokens + max_new_tokens
        most = min(limits.max_model_len, (limits.kv_blocks - limits.watermark_blocks) * limits.block_size)
        if limits.longest_prompt is not None:
            most = min(most, limits.longest_prompt)
        if prompt_tokens < 1 or max_new_tokens < 1 or total > most:
            allowed = f"at least one of each and {most} in all (max_model_len, KV pool)"
            raise InputError("prompt and max_tokens", f"{prompt_tokens} + {max_new_tokens} tokens", allowed)

    def add(self, prompt: Sequence[int], max_new_tokens: int, arrived_at: float, priority: int = 0) -> Served:
        """Returns the request, put among those that wait; raises InputError when it can never be served."""
        self.check(len(prompt), max_new_tokens)
        if not self._free_rows:
            self._make_room()
        row = self._free_rows.pop()
        self.requests[row] = records.requests_of(1)[0]
        request = self.requests[row]
        request["arrived_at"] = arrived_at
        request["prompt_tokens"] = request["known_tokens"] = len(prompt)
        request["max_new_tokens"], request["priority"], request["text_rank"] = max_new_tokens, priority, self._count
        request["content_at"] = row * self.contents.blocks
        served = Served(row, self._count, len(prompt), max_new_tokens, list(prompt))
        self.served[row] = served
        self._count += 1
        self._know(served)
        self._arrive(*self._engine, row)
        return served

    def drop(self, served: Served) -> None:
        """Takes a request out before its end; a token of it in flight is lost."""
        if not served.ended:
            self._end(served, CANCELLED)

    # Steps

    def decide(self, now: float) -> Decision:
        """Returns the policy's decision, in flight unless it has no part."""
        replica = self.replica[0]
        replica["now"], replica["preempted_now"] = now, 0
        self._schedule(*self._engine)
        # Who was preempted is linked from the last one to the first.
        preempted, row = [], int(replica["preempted_last"])
        for _ in range(int(replica["preempted_now"])):
            preempted.append(self.served[row].number)
            row = int(self.requests["preempted_before"][row])
        count = self._launch(*self._engine, now, self._parts)
        parts = self._parts[:count].copy()
        members = tuple([self.served[row] for row in parts[:, driven.REQUEST_AT].tolist()])
        for served, found in zip(members, parts[:, driven.FOUND_AT].tolist(), strict=True):
            if found != NOBODY and served.cached_tokens is None:
                served.cached_tokens = found
        return Decision(
            at=now,
            parts=parts,
            members=members,
            preempted=tuple(reversed(preempted)),
            num_running=int(replica["num_running"]),
            num_waiting=int(replica["num_waiting"]),
            free_blocks=int(replica["free_blocks"]),
        )

    def seat(self, served: Served) -> int:
        """Returns the seat of a running request, below max_num_seqs."""
        return int(self.requests["seat"][served.row])

    def table(self, served: Served) -> Ints:
        """Returns the blocks of a running request in order; beyond those that it holds, anything."""
        table: Ints = self.cache.table[0, self.seat(served)]
        return table

    def land(self, decision: Decision, tokens: Sequence[int], stops: Sequence[bool]) -> list[Served]:
        """Hands out the tokens of the oldest step in flight, one for each part that samples; returns who got one.

        A request ends with its last allowed token, or where `stops` says so. Tokens of requests that ended before are lost.
        """
        members = [decision.members[place] for place in decision.sampling]
        got = [served for served in members if not served.ended]
        for served, token in zip(members, tokens, strict=True):
            if not served.ended:
                served.tokens.append(token)
                if len(served.tokens) % self.limits.block_size == 0:
                    self._know(served)
        self._land(*self._engine, decision.parts[decision.sampling, driven.REQUEST_AT])
        for served, stop in zip(members, stops, strict=True):
            if served.ended:
                self._leave_row(served)
            elif stop or served.produced == served.max_new_tokens:
                self._end(served, FINISHED)
        return got

    def roll_back(self, served: Served, tokens: int) -> None:
        """Takes a running request back to its first so many tokens, whose KV is computed, before its next token lands.

        No step may be in flight but the one that lands.
        """
        del served.tokens[tokens:]
        request = self.requests[served.row]
        request["known_tokens"] = request["computed_tokens"] = tokens
        request["exhausted"] = 0

    @property
    def _engine(self) -> tuple[Any, Any, Any, Ints, Cache]:
        return self.config[0], self.replica[0], self.requests, self.running, self.cache

    def _end(self, served: Served, status: int) -> None:
        self._leave(*self._engine, served.row, status)
        served.ended = True
        self._leave_row(served)

    def _leave_row(self, served: Served) -> None:
        """Gives the row of the records away, once no token of the request is in flight."""
        if self.requests["in_flight"][served.row] == 0:
            del self.served[served.row]
            self._free_rows.append(served.row)

    def _know(self, served: Served) -> None:
        """Tells the prefix cache what is in the request's full blocks."""
        if self.limits.prefix_caching:
            known = int(self.requests["content_blocks"][served.row])
            self.requests["content_blocks"][served.row] = self.contents.extend(self.cache, served.row, known, served.tokens)

    def _make_room(self) -> None:
        """Doubles the rows of the records."""
        rows = len(self.requests)
        self.requests = records.as_records(np.concatenate([self.requests, records.requests_of(rows)]))
        cache, more = self.cache, rows * self.contents.blocks
        self.cache = cache._replace(
            contents=np.concatenate([cache.contents, np.zeros(more, dtype=np.int64)]),
            first=np.concatenate([cache.first, np.full((1, more), NOBODY, dtype=np.int64)], axis=1),
        )
        self._free_rows = list(range(rows, 2 * rows))
