"""Legal deployments drawn uniformly and without repetition: the yardstick for every other sampler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from search.samplers import Problem, Told
from search.space import ENUMERABLE, Point, Space
from simulator.spec.deployment import Resolved

# Draws from a space too large to shuffle that may fail in a row before it is taken for exhausted.
_PATIENCE = 10_000


class Random:
    """Returns deployments in a random order that the seed decides."""

    learns = False

    def __init__(self, problem: Problem) -> None:
        self.sentence = f"draws at random from {problem.space.size} combinations"
        self._space = problem.space
        self._points = shuffled(problem.space, problem.seed)
        self._known: set[Resolved] = set()

    def ask(self, count: int) -> list[Resolved]:
        """Returns the next deployments that were neither returned nor told of."""
        batch: list[Resolved] = []
        misses = 0
        while len(batch) < count and misses < _PATIENCE:
            point = next(self._points, None)
            if point is None:
                break
            found = self._space.at(point)
            if isinstance(found, Resolved) and found not in self._known:
                self._known.add(found)
                batch.append(found)
                misses = 0
            elif self._space.size > ENUMERABLE:
                misses += 1
        return batch

    def tell(self, results: Sequence[Told]) -> None:
        """Remembers which deployments are done; their values decide nothing."""
        self._known.update(deployment for deployment, _ in results)


def shuffled(space: Space, seed: int) -> Iterator[Point]:
    """Yields every point once in a random order; of a space too large to shuffle, random points without end."""
    generator = np.random.default_rng(seed)
    if space.size <= ENUMERABLE:
        yield from (space.point(int(number)) for number in generator.permutation(space.size))
        return
    while True:
        # Drawn by dimension: the number of combinations may exceed 64 bits.
        yield tuple(int(generator.integers(len(dimension.values))) for dimension in space.dimensions)


def create(problem: Problem) -> Random:
    """Returns the sampler."""
    return Random(problem)
