"""Tries the whole space when the budget covers it, which costs less than sampling it and proves the frontier; else TPE."""

from __future__ import annotations

from itertools import islice

from search import samplers
from search.samplers import Problem, Sampler
from search.space import ENUMERABLE, Space


def create(problem: Problem) -> Sampler:
    """Returns the sampler chosen; its sentence says which and why."""
    name = "enumerate" if _fits(problem.space, problem.trials) else "tpe"
    sampler = samplers.create(name, problem)
    reason = "the budget covers the space" if name == "enumerate" else f"the space has more than {problem.trials} legal deployments"
    sampler.sentence = f"{name}, since {reason}: {sampler.sentence}"
    return sampler


def _fits(space: Space, trials: int) -> bool:
    return space.size <= ENUMERABLE and len(list(islice(space.walk(), trials + 1))) <= trials
