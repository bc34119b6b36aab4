"""One engine of the oracle: two lists of requests, a KV pool, and what a policy may do with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from tests.naive_cache import Pool
from tests.naive_nouns import Batch, Knobs, Request, Step
from tests.naive_policies import POLICIES
from tests.naive_prices import Work


class Engine:
    """One rank: those that run, those that wait, their blocks, and the sums over its steps."""

    def __init__(self, knobs: Knobs, number: int) -> None:
        self.knobs, self.number = knobs, number
        self.pool = Pool(knobs.kv_blocks, knobs.prefix_caching)
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.now = 0.0
        self.preempted_now: list[Request] = []
        self.admitted_now: list[tuple[int, int]] = []
        self.notes: Counter[str] = Counter()  # the policy's own
        self.steps: list[Step] = []
        self.iterations = self.scheduled_requests = self.scheduled_tokens = self.sampled_tokens = self.kv_tokens = 0
        self.busy_s = self.block_seconds = self.bubble_s = self.seen_free_at = 0.0
        self.peak_blocks = 0

    # What a request is owed

    def known(self, request: Request) -> int:
        """Returns its tokens: those that landed, and those under way where the engine goes on blindly."""
        return request.landed + (request.in_flight if self.knobs.blind else 0)

    def owed(self, request: Request) -> int:
        """Returns the tokens that can be scheduled: none while a sampled one has to be awaited, none after the last."""
        if request.in_flight and not self.knobs.blind:
            return 0
        if len(request.token_times) + request.in_flight == request.output:
            return 0
        return self.known(request) - request.computed

    def settled(self, request: Request) -> bool:
        """Returns whether the policies that keep micro-batches apart may touch it: no step under way has it."""
        return self.knobs.blind or request.flying == 0

    # Blocks

    @property
    def free_blocks(self) -> int:
        """Blocks that can be taken."""
        return self.pool.free

    def blocks_for(self, tokens: int) -> int:
        """Returns the blocks that so many tokens fill, the last one perhaps in part."""
        return math.ceil(tokens / self.knobs.block_size)

    def fits(self, request: Request, tokens: int, found: Sequence[int] = ()) -> bool:
        """Returns whether it could hold so many tokens in all; found blocks that nobody holds have to be free as well."""
        have = len(request.blocks) + len(found)
        return self.blocks_for(tokens) - have + self.pool.unheld(found) <= self.free_blocks

    def grow(self, request: Request, tokens: int) -> None:
        """Gives it the blocks for so many tokens in all, and makes the full ones of those that landed findable."""
        while len(request.blocks) < self.blocks_for(tokens):
            request.blocks.append(self.pool.take())
        self.enter(request, min(tokens, request.landed))

    def enter(self, request: Request, tokens: int) -> None:
        """Makes the full blocks of its first tokens findable."""
        contents = self.contents(request, tokens)
        for place in range(request.entered, len(contents)):
            self.pool.enter(request.blocks[place], contents[place])
        request.entered = max(request.entered, len(contents))

    def contents(self, request: Request, tokens: int) -> Sequence[Hashable]:
        """Returns what is in the full blocks of its first tokens; where nothing is known, nobody else has the same."""
        full = tokens // self.knobs.block_size
        if request.content is None:
            return [(request.number, place) for place in range(full)]
        return request.content[:full]

    def found(self, request: Request) -> list[int]:
        """Returns the blocks in which its tokens are found from the first on, the last token of all left to compute."""
        return self.pool.find(self.contents(request, request.landed - 1))

    def release(self, request: Request) -> None:
        """Takes all blocks of a request back."""
        self.pool.let_go(request.blocks)
        request.blocks = []
        request.entered = 0

    # Moves

    def enqueue(self, request: Request, in_front: bool = False) -> None:
        """Puts a request among those that wait."""
        self.waiting.insert(0 if in_front else len(self.waiting), request)
        if self.knobs.by_priority:
            self.waiting.sort(key=lambda r: r.urgency)

    def admit(self, request: Request, found: Sequence[int] = (), in_order: bool = False) -> None:
        """Moves a request to the end of those that run, or to its place by arrival, with the blocks that it found."""
        self.waiting.remove(request)
        self.running.append(request)
        if in_order:
            self.running.sort(key=lambda r: r.arrived_at)
        for block in found:
            self.pool.hold(block)
        request.blocks = list(found)
        request.entered = len(found)
        request.computed = len(found) * self.knobs.block_size
        request.decoding = False
        if request.preemptions:
            request.preempted_s += self.now - request.preempted_at
        else:
            request.cached = request.computed
        self.admitted_now.append((request.number, request.computed))

    def preempt(self, request: Request) -> None:
        """Sends a request back to wait, to be computed anew; its outputs stay."""
        self.running.remove(request)
        self.release(request)
        request.computed = 0
        request.preemptions += 1
        request.preempted_at = self.now
        self.preempted_now.append(request)
        self.admitted_now = [(number, hit) for number, hit in self.admitted_now if number != request.number]
        self.enqueue(request, in_front=True)

    def leave(self, request: Request) -> None:
        """Lets a request go that ends; it may have been preempted with its last token under way."""
        self.release(request)
        if not math.isnan(request.first_scheduled_at):
            request.bubble_s = self.bubble_s - request.bubbles_before
        (self.running if request in self.running else self.waiting).remove(request)

    # Steps

    def schedule(self) -> Batch:
        """Returns the policy's decision."""
        return POLICIES[self.knobs.scheduler](self)

    def decide(self, now: float) -> Batch:
        """Returns the tokens of those that take part in the next step, in the order of the running list."""
        self.now = now
        self.preempted_now, self.admitted_now = [], []
        batch = self.schedule()
        return {request: batch[request] for request in self.running if request in batch}

    def work(self, batch: Batch) -> list[Work]:
        """Returns what a step is priced by."""
        return [Work(tokens, request.computed, request.decoding) for request, tokens in batch.items()]

    def sampled(self, batch: Batch) -> list[Request]:
        """Returns those that get a token: who has all known tokens computed after the step."""
        return [request for request, tokens in batch.items() if request.computed + tokens == self.known(request)]

    def begin(self, batch: Batch) -> Step:
        """Moves those that take part on, puts the tokens they sample under way, and returns the step's record."""
        sampled = self.sampled(batch)
        for request, tokens in batch.items():
            if math.isnan(request.first_scheduled_at):
                request.first_scheduled_at = self.now
                request.bubbles_before = self.bubble_s
            request.computed += tokens
            request.flying += 1
        for request in sampled:
            request.in_flight += 1
            request.decoding = True
        hits = dict(self.admitted_now)
        step = Step(
            sched_s=self.now,
            scheduled=[(request.number, tokens) for request, tokens in batch.items()],
            admitted=[(r.number, hits[r.number]) for r in self.running if r.number in hits],
            preempted=[request.number for request in self.preempted_now],
            num_running=len(self.running),
            num_waiting=len(self.waiting),
            free_blocks=self.free_blocks,
            kv_tokens=sum(request.computed for request in batch),
        )
        if batch:
            self.iterations += 1
            self.scheduled_requests += len(batch)
            self.scheduled_tokens += step.tokens
            self.sampled_tokens += len(sampled)
            self.kv_tokens += step.kv_tokens
            self.peak_blocks = max(self.peak_blocks, self.knobs.kv_blocks - self.free_blocks)
        if batch or self.preempted_now:
            self.steps.append(step)
        return step

    def end(self, step: Step, members: Sequence[Request], sampled: Sequence[Request]) -> list[Request]:
        """Hands the tokens of a step out, and returns the requests that they finish."""
        seen_at = max(step.end_s, self.seen_free_at) + len(sampled) * self.knobs.detokenize_s_per_token
        if self.knobs.detokenize_s_per_token:
            self.seen_free_at = seen_at
        for request in members:
            request.flying -= 1
        finished = []
        for request in sampled:
            if request.over:
                continue
            request.in_flight -= 1
            request.token_times.append(seen_at)
            if self.knobs.prefix_caching and request in self.running:
                self.enter(request, request.computed - request.in_flight)
            if len(request.token_times) == request.output:
                self.finish(request)
                step.finished.append(request.number)
                finished.append(request)
        return finished

    def finish(self, request: Request) -> None:
        """Ends a request that has all of its tokens."""
        self.leave(request)
        request.finished = True
