"""Tokens that do not depend on who shared a step, after LLM-42: decode fast, verify in a fixed shape, roll back where they differ.

A request's tokens lie in windows of W places, from its first one on. A pass computes one window of one request: always W
rows that see (k + 1) x W places of KV in window k, filled up where there is nothing yet. So what it says of a place, and the
KV that it writes there, follow from the tokens up to that place alone. A token leaves the engine once a pass has given it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from profiler.engine.architecture import Architecture
from profiler.engine.driver import Driver, Ints, Served
from profiler.engine.runner import Runner
from profiler.engine.sampling import Sampling, uniform
from simulator.errors import InputError
from simulator.kernel.limits import Limits


@dataclass
class Counts:
    """What verification took: passes, how many of them disagreed, and the tokens that were computed for nothing."""

    passes: int = 0
    rollbacks: int = 0
    rolled_back_tokens: int = 0


@dataclass(eq=False)
class _Progress:
    """Of one request: the tokens that are certain, and the places whose KV a pass wrote."""

    certain: int
    written: int = 0


@dataclass
class Verifier:
    """Verifies the tokens of one engine's requests in windows of so many places."""

    runner: Runner
    driver: Driver
    window: int
    counts: Counts = field(default_factory=Counts)
    _progress: dict[Served, _Progress] = field(default_factory=dict)

    def anew(self, served: Served) -> None:
        """Forgets what was written for a request whose KV is computed from its first token."""
        self._of(served).written = 0

    def due(self, served: Served, ends: bool) -> bool:
        """Returns whether a request has to be verified that gets one more token, by which it `ends`."""
        return ends or len(served.tokens) % self.window == 0

    def verified(self, served: Served, token: int, blocks: Ints, way: Sampling) -> int:
        """Returns the token to land in place of `token`; before it, the request is rolled back to where a pass disagreed."""
        progress, tokens = self._of(served), [*served.tokens, token]
        for start in range(progress.written // self.window * self.window, len(served.tokens), self.window):
            end = min(start + self.window, len(served.tokens))
            for place, right in enumerate(self._pass(served, tokens, start, end, blocks, way), start + 1):
                if place < progress.certain or place > end or right == tokens[place]:
                    continue
                self.counts.rollbacks += 1
                self.counts.rolled_back_tokens += len(tokens) - place
                self.driver.roll_back(served, place)
                progress.written = place
                return right
        progress.written = len(served.tokens)
        return token

    def released(self, served: Served) -> Sequence[int]:
        """Returns the tokens that became certain with the last one that landed."""
        progress = self._of(served)
        tokens = served.tokens[progress.certain :]
        progress.certain = len(served.tokens)
        return tokens

    def forget(self, served: Served) -> None:
        """Forgets a request that has left."""
        self._progress.pop(served, None)

    def _pass(self, served: Served, tokens: list[int], start: int, end: int, blocks: Ints, way: Sampling) -> list[int]:
        """Returns the tokens after the places from `start` on, none for a window before the prompt's last token."""
        self.counts.passes += 1
        asked = start + self.window >= served.prompt_tokens
        chances = [uniform(way.seed, place + 1) for place in range(start, start + self.window)] if asked else []
        return self.runner.window(tokens[start:end], start, blocks, self.window, way.temperature, chances)

    def _of(self, served: Served) -> _Progress:
        return self._progress.setdefault(served, _Progress(served.prompt_tokens))


def check(limits: Limits, arch: Architecture, field: str = "determinism") -> None:
    """Raises InputError under `field` where tokens could not be verified."""
    told = {
        "prefix caching": (limits.prefix_caching, "enable_prefix_caching false: shared KV is as its first writer computed it"),
        "async scheduling or a pipeline": (limits.depth > 1, "async_scheduling false and pipeline_parallel_size 1"),
        "experts": (arch.experts > 0, "a model without experts, whose shapes follow from who chose which"),
    }
    for what, (present, allowed) in told.items():
        if present:
            raise InputError(field, f"verified with {what}", allowed)
