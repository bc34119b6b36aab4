"""Every legal deployment of the space once: the only sampler whose frontier is that of the whole space."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from search.samplers import Problem, Told
from search.space import ENUMERABLE
from simulator.errors import InputError
from simulator.spec.deployment import Resolved


class Enumerate:
    """Returns the legal deployments in the order of the space; a random share of them when the budget is smaller."""

    learns = False

    def __init__(self, problem: Problem) -> None:
        if problem.space.size > ENUMERABLE:
            raise InputError("sampler", "enumerate", f"tpe or random, since the space has {problem.space.size} combinations")
        legal = problem.space.deployments()
        self.sentence = f"tries all {len(legal)} legal deployments of the space"
        if len(legal) > problem.trials:
            self.sentence = f"tries a random {problem.trials} of {len(legal)} legal deployments, as budget.trials says"
            # A prefix of the space's own order would hold one value of its first knobs only.
            legal = [legal[i] for i in np.random.default_rng(problem.seed).permutation(len(legal))]
        self._left = deque(legal)
        self._known: set[Resolved] = set()

    def ask(self, count: int) -> list[Resolved]:
        """Returns the next deployments that no one has told of."""
        batch: list[Resolved] = []
        while self._left and len(batch) < count:
            deployment = self._left.popleft()
            if deployment not in self._known:
                batch.append(deployment)
        return batch

    def tell(self, results: Sequence[Told]) -> None:
        """Remembers which deployments are done; their values decide nothing."""
        self._known.update(deployment for deployment, _ in results)


def create(problem: Problem) -> Enumerate:
    """Returns the sampler; raises InputError for a space too large to walk."""
    return Enumerate(problem)
