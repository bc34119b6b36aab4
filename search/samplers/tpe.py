"""Optuna's multivariate TPE with constant liar (Bergstra et al., 2011), over ordered integers.

The Optuna study lives in memory and holds each deployment once: proposals that repeat a known deployment are told as
failed, which TPE ignores, and are drawn again. Points that are not legal and deployments that are infeasible are told with
a violated constraint, so that TPE keeps away from them. When it keeps proposing what is known, random new deployments
fill the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import Trial, TrialState, create_trial

from search.samplers import Problem, Told, Values
from search.samplers.random import Random
from search.space import Point
from simulator.spec.deployment import Resolved

# Proposals of known deployments in a row before random ones fill the batch.
_PATIENCE = 20
_STARTUP_TRIALS = 20
_CONSTRAINT = "legal_and_feasible"


class Tpe:
    """Proposes deployments near those that did well so far."""

    learns = True

    def __init__(self, problem: Problem) -> None:
        self.sentence = f"TPE over {problem.space.size} combinations, {problem.trials} trials"
        self._problem = problem
        self._space = problem.space
        self._ranges = {d.name: IntDistribution(0, len(d.values) - 1) for d in self._space.dimensions if len(d.values) > 1}
        self._study = _study(problem)
        self._fallback = Random(problem)
        self._pending: dict[Resolved, Trial | None] = {}
        self._known: set[Resolved] = set()
        self._illegal: set[Point] = set()

    def ask(self, count: int) -> list[Resolved]:
        """Returns new deployments, by TPE as long as it finds any."""
        batch: list[Resolved] = []
        misses = 0
        while self._ranges and len(batch) < count and misses < _PATIENCE:
            deployment = self._propose()
            misses = misses + 1 if deployment is None else 0
            if deployment is not None:
                batch.append(deployment)
        self._fallback.tell([(deployment, None) for deployment in batch])
        fill = self._fallback.ask(count - len(batch))
        self._pending.update(dict.fromkeys(fill))
        self._known.update(fill)
        return batch + fill

    def tell(self, results: Sequence[Told]) -> None:
        """Teaches TPE the values of deployments, whoever proposed them."""
        for deployment, values in results:
            self._known.add(deployment)
            trial = self._pending.pop(deployment, None)
            if trial is not None:
                self._finish(trial, values)
            else:
                self._add(deployment, values)
        self._fallback.tell(results)

    def _propose(self) -> Resolved | None:
        """Returns a new deployment, or None for a proposal that is known or not legal."""
        trial = self._study.ask()
        chosen = {name: trial.suggest_int(name, 0, span.high) for name, span in self._ranges.items()}
        point = tuple(chosen.get(dimension.name, 0) for dimension in self._space.dimensions)
        found = self._space.at(point)
        if isinstance(found, Resolved) and found not in self._known:
            self._known.add(found)
            self._pending[found] = trial
            return found
        if isinstance(found, Resolved) or point in self._illegal:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._illegal.add(point)
            self._finish(trial, None)
        return None

    def _finish(self, trial: Trial, values: Values | None) -> None:
        trial.set_constraint(_CONSTRAINT, _violation(values))
        self._study.tell(trial, self._numbers(values))

    def _add(self, deployment: Resolved, values: Values | None) -> None:
        """Adds a deployment that TPE did not propose; one outside the space is only never proposed."""
        point = self._space.locate(deployment)
        if point is None:
            return
        indices = {dimension.name: index for dimension, index in zip(self._space.dimensions, point, strict=True)}
        self._study.add_trial(
            create_trial(
                values=self._numbers(values),
                params={name: indices[name] for name in self._ranges},
                distributions=dict(self._ranges),
                constraints={_CONSTRAINT: _violation(values)},
            )
        )

    def _numbers(self, values: Values | None) -> list[float]:
        # TPE ranks infeasible trials by their violation alone, but wants numbers of them all the same.
        return list(values) if values is not None else [0.0] * len(self._problem.directions)


def _violation(values: Values | None) -> float:
    return 1.0 if values is None else -1.0


def _study(problem: Problem) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, seed=problem.seed, n_startup_trials=_STARTUP_TRIALS
        )
    return optuna.create_study(directions=list(problem.directions), sampler=sampler)


def create(problem: Problem) -> Tpe:
    """Returns the sampler."""
    return Tpe(problem)
