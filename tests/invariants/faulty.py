"""Oracles that break one law each: what a checker is worth is that it sees these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests import naive
from tests.naive import Batch, Request, Step


class Leaks(naive.Engine):
    """Keeps one block of every request that ends."""

    def finish(self, request: Request) -> None:
        super().finish(request)
        self.pool.take()


class ReturnsTooMany(naive.Engine):
    """Frees a block twice when somebody is preempted."""

    def preempt(self, request: Request) -> None:
        super().preempt(request)
        self.pool.holders.append(0)
        self.pool.queue[len(self.pool.holders) - 1] = None


class FinishesEarly(naive.Engine):
    """Ends requests a token before their last."""

    def end(self, step: Step, members: Sequence[Request], sampled: Sequence[Request]) -> list[Request]:
        finished = super().end(step, members, sampled)
        for request in [r for r in self.running if len(r.token_times) == r.output - 1 and r.in_flight == 0 and r.output > 1]:
            self.finish(request)
        return finished


class LosesOne(naive.Engine):
    """Forgets the fifth request that arrives."""

    def enqueue(self, request: Request, in_front: bool = False) -> None:
        if request.number != 5:
            super().enqueue(request, in_front)


class ComputesTwice(naive.Engine):
    """Computes the last chunk of every prompt again before it samples."""

    def begin(self, batch: Batch) -> Step:
        for request, tokens in batch.items():
            if not request.decoding and tokens > 1:
                self.scheduled_tokens += tokens
        return super().begin(batch)


class GoesBack(naive.Engine):
    """Ends every tenth step before it started."""

    def end(self, step: Step, members: Sequence[Request], sampled: Sequence[Request]) -> list[Request]:
        if self.iterations % 10 == 9:
            step.end_s = step.start_s - 1e-3
        return super().end(step, members, sampled)


class Anticipates(naive.Engine):
    """Says that it served everybody half a second before they came."""

    def begin(self, batch: Batch) -> Step:
        fresh = [request for request in batch if request.computed == 0 and not request.preemptions]
        step = super().begin(batch)
        for request in fresh:
            request.first_scheduled_at -= 0.5
        return step


class Overtakes(naive.Engine):
    """Admits the latest first."""

    def schedule(self) -> Batch:
        self.waiting.sort(key=lambda r: -r.arrived_at)
        return super().schedule()


class Idles(naive.Group):
    """Rests between steps while requests are there."""

    def launch(self, batches: Sequence[Batch], now: float) -> None:
        if any(batches) and self.engines[0].iterations % 5 == 4:
            self.stage_free_at = [max(now, at) + 1e-3 for at in self.stage_free_at]
        super().launch(batches, now)


class Waits(naive.Engine):
    """Starts nothing before a second request is there."""

    def schedule(self) -> Batch:
        lone = not self.running and len(self.waiting) == 1 and self.waiting[0].number < 30
        return {} if lone else super().schedule()


class Peeks(naive.Engine):
    """Admits first who will end first."""

    def schedule(self) -> Batch:
        self.waiting.sort(key=lambda r: r.output)
        return super().schedule()


class Overfills(naive.Engine):
    """Has twice the seats."""

    def schedule(self) -> Batch:
        knobs = self.knobs
        self.knobs = replace(knobs, max_num_seqs=2 * knobs.max_num_seqs)
        batch = super().schedule()
        self.knobs = knobs
        return batch


class Overspends(naive.Engine):
    """Gives every prompt whole, whatever the budget."""

    def schedule(self) -> Batch:
        knobs = self.knobs
        self.knobs = replace(knobs, max_num_batched_tokens=10 * knobs.max_num_batched_tokens)
        batch = super().schedule()
        self.knobs = knobs
        return batch


class Overdraws(naive.Engine):
    """Lends blocks that it does not have."""

    def fits(self, request: Request, tokens: int, found: Sequence[int] = ()) -> bool:
        return True

    def grow(self, request: Request, tokens: int) -> None:
        while self.pool.free < self.blocks_for(tokens) - len(request.blocks):
            self.pool.holders.append(0)
            self.pool.queue[len(self.pool.holders) - 1] = None
        super().grow(request, tokens)
        self.peak_blocks = max(self.peak_blocks, sum(held > 0 for held in self.pool.holders))


class AdmitsAfterPreempting(naive.Engine):
    """Admits in a step that preempted, which vLLM does not."""

    def preempt(self, request: Request) -> None:
        super().preempt(request)
        self.preempted_now = []


class Dreams(naive.Engine):
    """Finds in the cache what nobody has computed."""

    def found(self, request: Request) -> list[int]:
        full = (request.landed - 1) // self.knobs.block_size
        return list(self.pool.queue)[: min(full, 2)]


class Exaggerates(naive.Engine):
    """Says that it found a token more than it did."""

    def admit(self, request: Request, found: Sequence[int] = (), in_order: bool = False) -> None:
        super().admit(request, found, in_order)
        request.cached += 1 if found else 0


class Forgives(naive.Fleet):
    """Drops nobody."""

    def cancel(self, request: Request, now: float) -> None:
        pass


class HurriesOn(naive.Fleet):
    """Lets who follows another arrive a moment early."""

    def ended(self, request: Request, at: float) -> None:
        super().ended(request, at - 1e-3)


class Overlaps(naive.Group):
    """Starts the second stage of a pipeline while it is busy."""

    def launch(self, batches: Sequence[Batch], now: float) -> None:
        self.stage_free_at[1] -= 2e-3
        super().launch(batches, now)


class Straggles(naive.Group):
    """Lets the first engine of a group end before the others."""

    def launch(self, batches: Sequence[Batch], now: float) -> None:
        super().launch(batches, now)
        if self.flights:
            self.flights[-1].parts[0][1].end_s -= 1e-6


def fleet_with(fault: type[naive.Fleet | naive.Group | naive.Engine]) -> type[naive.Fleet]:
    """Returns the fleet that has a fault."""
    if issubclass(fault, naive.Fleet):
        return fault
    part = "group_type" if issubclass(fault, naive.Group) else "engine_type"
    return type(fault.__name__, (naive.Fleet,), {part: fault})
