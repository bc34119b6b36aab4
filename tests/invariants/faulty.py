"""Oracles that break one law each: what a checker is worth is that it sees these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests import naive
from tests.naive import Request


class Leaks(naive.Replica):
    """Keeps one block of every request that ends."""

    def finish(self, request: Request) -> None:
        super().finish(request)
        self.free_blocks -= 1


class ReturnsTooMany(naive.Replica):
    """Frees a block twice when somebody is preempted."""

    def preempt(self, request: Request) -> None:
        super().preempt(request)
        self.free_blocks += 1


class FinishesEarly(naive.Replica):
    """Ends requests a token before their last."""

    def land(self) -> None:
        super().land()
        for request in [r for r in self.running if len(r.token_times) == r.output - 1 and r.in_flight == 0 and r.output > 1]:
            self.finish(request)


class LosesOne(naive.Replica):
    """Forgets the fifth request that arrives."""

    def enqueue(self, request: Request, in_front: bool) -> None:
        if request.number != 5:
            super().enqueue(request, in_front)


class ComputesTwice(naive.Replica):
    """Computes the last chunk of every prompt again before it samples."""

    def launch(self, batch: dict[Request, int]) -> None:
        for request, tokens in batch.items():
            if not request.decoding and tokens > 1:
                self.scheduled_tokens += tokens
        super().launch(batch)


class GoesBack(naive.Replica):
    """Ends every tenth step before it started."""

    def seconds(self, work: Sequence[tuple[int, int]], sampled: int) -> float:
        seconds = super().seconds(work, sampled)
        return -seconds if self.iterations % 10 == 9 else seconds


class Anticipates(naive.Replica):
    """Serves whoever arrives next as soon as nobody is there."""

    def serve(self, requests: Sequence[Request]) -> None:
        arrivals = [request.arrived_at for request in requests]
        for request in requests:
            request.arrived_at -= 0.5
        super().serve(requests)
        for request, arrived_at in zip(requests, arrivals, strict=True):
            request.arrived_at = arrived_at


class Overtakes(naive.Replica):
    """Admits the latest first."""

    def schedule(self) -> dict[Request, int]:
        self.waiting.sort(key=lambda r: -r.arrived_at)
        return super().schedule()


class Idles(naive.Replica):
    """Rests between steps while requests are there."""

    def launch(self, batch: dict[Request, int]) -> None:
        if batch and self.iterations % 5 == 4:
            self.device_free_at = max(self.clock, self.device_free_at) + 1e-3
        super().launch(batch)


class Waits(naive.Replica):
    """Starts nothing before a second request is there."""

    def schedule(self) -> dict[Request, int]:
        lone = not self.running and len(self.waiting) == 1 and self.waiting[0].number < 30
        self.preempted_now = False
        return {} if lone else super().schedule()


class Peeks(naive.Replica):
    """Admits first who will end first."""

    def schedule(self) -> dict[Request, int]:
        self.waiting.sort(key=lambda r: r.output)
        return super().schedule()


class Overfills(naive.Replica):
    """Has seats for everybody."""

    def schedule(self) -> dict[Request, int]:
        self.knobs = replace(self.knobs, max_num_seqs=10**6)
        return super().schedule()

    def seconds(self, work: Sequence[tuple[int, int]], sampled: int) -> float:
        return 1e-2


class Overspends(naive.Replica):
    """Gives every prompt whole, whatever the budget."""

    def chunk(self, request: Request, batch: dict[Request, int]) -> int:
        return min(request.owed, 10 * self.knobs.max_num_batched_tokens)

    def seconds(self, work: Sequence[tuple[int, int]], sampled: int) -> float:
        return 1e-2


class Overdraws(naive.Replica):
    """Lends blocks that it does not have."""

    def fits(self, request: Request, tokens: int) -> bool:
        return True


class AdmitsAfterPreempting(naive.Replica):
    """Admits in a step that preempted, which vLLM does not."""

    def continue_running(self, batch: dict[Request, int]) -> None:
        super().continue_running(batch)
        self.preempted_now = False
