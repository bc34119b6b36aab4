"""Naive: serving simulated the obvious way, as the oracle of the compiled kernels.

One object a request, one list of those that run and one of those that wait, the time of every token kept. The rules are
those that vLLM 0.19.0's V1 scheduler was recorded to follow, and Sarathi-Serve's stall-free batching (arXiv 2403.02310,
algorithm 3). Nothing of the simulator is used; of a price list, its fields are read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.naive_prices import price


@dataclass(frozen=True)
class Knobs:
    """What the scheduler and the KV pool of one replica allow; `watermark_blocks` stay free at a Sarathi admission."""

    scheduler: str
    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    max_model_len: int
    kv_blocks: int
    watermark_blocks: int = 0
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    by_priority: bool = False
    asynchronous: bool = False


@dataclass(eq=False)
class Request:
    """One request and all that happened to it; a token is sampled when a step starts and here when the step ends."""

    number: int
    arrived_at: float
    prompt: int
    output: int
    priority: int = 0
    replica: int = -1
    rejected: bool = False
    first_scheduled_at: float = math.nan
    token_times: list[float] = field(default_factory=list)
    preemptions: int = 0
    in_flight: int = 0
    computed: int = 0
    blocks: int = 0
    decoding: bool = False

    @property
    def known(self) -> int:
        """Prompt and outputs, one that is in flight included."""
        return self.prompt + len(self.token_times) + self.in_flight

    @property
    def owed(self) -> int:
        """Tokens that can be scheduled; none when the last output is in flight."""
        return 0 if len(self.token_times) + self.in_flight == self.output else self.known - self.computed

    @property
    def gaps(self) -> list[float]:
        """Seconds between consecutive tokens."""
        return [late - early for early, late in zip(self.token_times, self.token_times[1:], strict=False)]

    @property
    def urgency(self) -> tuple[int, float, str]:
        """The sorting key of the priority policy's queue."""
        return self.priority, self.arrived_at, str(self.number)


@dataclass(frozen=True, eq=False)
class Step:
    """One iteration on the device, its tokens, and the requests that it samples a token for."""

    end_at: float
    tokens: int
    sampled: list[Request]


class Replica:
    """One engine: a clock, two lists of requests, a count of free blocks, and the steps that are on the device."""

    def __init__(self, knobs: Knobs, prices: Any) -> None:
        self.knobs, self.prices = knobs, prices
        self.clock = self.device_free_at = 0.0
        self.free_blocks = knobs.kv_blocks
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.flights: deque[Step] = deque()
        self.preempted_now = False
        self.iterations = self.scheduled_requests = self.scheduled_tokens = self.sampled_tokens = 0
        self.busy_s = self.block_seconds = 0.0

    def serve(self, requests: Sequence[Request]) -> None:
        """Serves requests, given in order of arrival, to their ends; raises RuntimeError when some can never go on."""
        arriving = deque(requests)
        while arriving or self.running or self.waiting:
            while arriving and arriving[0].arrived_at <= self.clock:
                self.enqueue(arriving.popleft(), in_front=False)
            expecting = any(step.tokens for step in self.flights)
            batch = self.schedule()
            self.launch(batch)
            if batch and len(self.flights) < (2 if self.knobs.asynchronous else 1):
                continue
            self.land()
            if not batch and not self.preempted_now and not expecting:
                if arriving:
                    self.clock = max(self.clock, arriving[0].arrived_at)
                elif self.running or self.waiting:
                    raise RuntimeError("requests are left for ever")

    def launch(self, batch: dict[Request, int]) -> None:
        """Puts a step on the device, behind the one that is there; one without tokens takes no time."""
        start, seconds, sampled = max(self.clock, self.device_free_at), 0.0, []
        if batch:
            sampled = [request for request, tokens in batch.items() if request.computed + tokens == request.known]
            seconds = self.seconds([(tokens, request.computed) for request, tokens in batch.items()], len(sampled))
            self.iterations += 1
            self.scheduled_requests += len(batch)
            self.scheduled_tokens += sum(batch.values())
            self.sampled_tokens += len(sampled)
            self.busy_s += seconds
            self.block_seconds += seconds * (self.knobs.kv_blocks - self.free_blocks)
        for request, tokens in batch.items():
            if math.isnan(request.first_scheduled_at):
                request.first_scheduled_at = self.clock
            request.computed += tokens
        for request in sampled:
            request.in_flight += 1
            request.decoding = True
        self.device_free_at = start + seconds
        self.flights.append(Step(start + seconds, sum(batch.values()), sampled))

    def seconds(self, work: Sequence[tuple[int, int]], sampled: int) -> float:
        """Returns how long a step takes, of (tokens, tokens computed before) by request."""
        return price(self.prices, work, sampled)

    def land(self) -> None:
        """Waits for the oldest step to end, and hands its tokens out."""
        step = self.flights.popleft()
        self.clock = max(self.clock, step.end_at)
        for request in step.sampled:
            request.in_flight -= 1
            request.token_times.append(self.clock)
            if len(request.token_times) == request.output:
                self.finish(request)

    def finish(self, request: Request) -> None:
        """Ends a request, which may have been preempted with its last token in flight."""
        self.release(request)
        (self.running if request in self.running else self.waiting).remove(request)

    def blocks_for(self, tokens: int) -> int:
        """Returns the blocks that so many tokens fill, the last one perhaps in part."""
        return math.ceil(tokens / self.knobs.block_size)

    def fits(self, request: Request, tokens: int) -> bool:
        """Returns whether the request could hold so many tokens in all."""
        return self.blocks_for(tokens) - request.blocks <= self.free_blocks

    def grow(self, request: Request, tokens: int) -> None:
        """Gives the request the blocks for so many tokens in all."""
        more = max(self.blocks_for(tokens) - request.blocks, 0)
        request.blocks += more
        self.free_blocks -= more

    def release(self, request: Request) -> None:
        """Takes all blocks of a request back."""
        self.free_blocks += request.blocks
        request.blocks = 0

    def enqueue(self, request: Request, in_front: bool) -> None:
        """Puts a request among those that wait."""
        self.waiting.insert(0 if in_front else len(self.waiting), request)
        if self.knobs.by_priority:
            self.waiting.sort(key=lambda r: r.urgency)

    def admit(self, request: Request) -> None:
        """Moves a request from those that wait to the end of those that run."""
        self.waiting.remove(request)
        self.running.append(request)
        request.decoding = False

    def preempt(self, request: Request) -> None:
        """Sends a request back to wait, to be computed anew; its outputs stay."""
        self.running.remove(request)
        self.release(request)
        request.computed = 0
        request.preemptions += 1
        self.preempted_now = True
        self.enqueue(request, in_front=True)

    def schedule(self) -> dict[Request, int]:
        """Returns the tokens of those that take part in the next step."""
        self.preempted_now = False
        return {"vllm_v1": self.vllm_v1, "sarathi_serve": self.sarathi_serve}[self.knobs.scheduler]()

    def vllm_v1(self) -> dict[Request, int]:
        """Returns the decision of vLLM's V1 scheduler: running requests in their order, then those that wait."""
        batch: dict[Request, int] = {}
        self.continue_running(batch)
        if self.preempted_now:
            return batch
        while self.waiting and len(self.running) < self.knobs.max_num_seqs:
            request = self.waiting[0]
            tokens = self.chunk(request, batch)
            if tokens == 0 or not self.fits(request, request.known if self.knobs.reserve_full_isl else tokens):
                break
            self.admit(request)
            self.grow(request, tokens)
            batch[request] = tokens
        return batch

    def continue_running(self, batch: dict[Request, int]) -> None:
        """Adds the running requests, preempting where blocks lack; ends where the needy one itself had to go."""
        place = 0
        while place < len(self.running):
            request = self.running[place]
            tokens = self.chunk(request, batch)
            while tokens and not self.fits(request, request.computed + tokens):
                victim = self.victim()
                self.preempt(victim)
                if victim is request:
                    return
                if victim in batch:
                    del batch[victim]
                    place -= 1
            if tokens:
                self.grow(request, request.computed + tokens)
                batch[request] = tokens
            place += 1

    def chunk(self, request: Request, batch: dict[Request, int]) -> int:
        """Returns the tokens that a request is owed, within the threshold and what is left of the budget."""
        tokens = min(request.owed, self.knobs.max_num_batched_tokens - sum(batch.values()))
        return min(tokens, self.knobs.long_prefill_token_threshold or tokens)

    def victim(self) -> Request:
        """Returns who is preempted: the last one, or under the priority policy the least urgent and latest."""
        if self.knobs.by_priority:
            return max(self.running, key=lambda r: (r.priority, r.arrived_at))
        return self.running[-1]

    def sarathi_serve(self) -> dict[Request, int]:
        """Returns the decision of stall-free batching: decodes, then part-done prompts, then those that wait."""
        batch: dict[Request, int] = {}
        for request in list(self.running):
            if request.decoding and request.owed:
                while request in self.running and not self.fits(request, request.computed + 1):
                    self.preempt(self.running[-1])
                if request in self.running:
                    self.grow(request, request.computed + 1)
                    batch[request] = 1
        for request in self.running:
            tokens = min(request.owed, self.knobs.max_num_batched_tokens - sum(batch.values()))
            if not request.decoding and tokens > 0:
                batch[request] = tokens
        while self.waiting and len(self.running) < self.knobs.max_num_seqs:
            request = self.waiting[0]
            tokens = min(request.owed, self.knobs.max_num_batched_tokens - sum(batch.values()))
            if tokens <= 0 or self.blocks_for(request.known) > self.free_blocks - self.knobs.watermark_blocks:
                break
            self.admit(request)
            self.grow(request, request.known)
            batch[request] = tokens
        return batch


@dataclass(frozen=True, eq=False)
class Run:
    """All requests, in order of arrival, and all replicas, at the end."""

    requests: list[Request]
    replicas: list[Replica]


def simulate(knobs: Knobs, prices: Any, requests: Sequence[Request], replicas: int = 1, engine: type[Replica] = Replica) -> Run:
    """Returns the run of requests, given in order of arrival, on replicas in turn; what never fits is rejected."""
    fleet = [engine(knobs, prices) for _ in range(replicas)]
    shares: list[list[Request]] = [[] for _ in fleet]
    for request in requests:
        total = request.prompt + request.output
        room = (knobs.kv_blocks - knobs.watermark_blocks) * knobs.block_size
        request.rejected = total > min(knobs.max_model_len, room)
    for turn, request in enumerate(r for r in requests if not r.rejected):
        request.replica = turn % replicas
        shares[request.replica].append(request)
    for replica, share in zip(fleet, shares, strict=True):
        replica.serve(share)
    return Run(list(requests), fleet)
