"""The load at which the first of several terms breaks, in few runs.

A term is the logarithm of a value over its limit: at most 0 where it holds. Each term is a smooth function of the load,
their maximum is not, so the secant is drawn for each and the lowest root counts. Runs are not broken off when they are
hopeless: the secant needs the value, and on average it saves more runs than breaking them off would save of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from simulator.errors import InputError

Terms = Mapping[str, float]
Ask = Callable[[float], Terms]
BACKLOG = "backlog"
# Terms that grow without end beyond saturation: they tell of a queue and not of the load that brought it about.
_QUEUES = ("ttft", "e2e", BACKLOG)
_MOST_RUNS = 40
# How far to go down first where a queue has grown, and beyond which exponent of the load a value is that of a queue.
_FIRST_STEP, _KNEE, _STEEPEST = 0.92, 1.5, 20.0
# What a step down aims at below the limit, and how far it goes at most.
_SLACK, _LARGEST_STEP = 0.03, 0.2


class Root(NamedTuple):
    """Where a term breaks: `value` by interpolation in a narrow bracket, `good` its end that keeps all, the term by name."""

    value: float
    good: float
    binding: str


def worst(terms: Terms) -> tuple[float, str]:
    """Returns the largest excess, and whose it is."""
    name = max(terms, key=lambda term: terms[term])
    return terms[name], name


def holds(terms: Terms) -> bool:
    """Returns whether every term holds."""
    return all(over <= 0 for over in terms.values())


def narrow(ask: Ask, good: float, bad: float, tolerance: float, whole: bool = False) -> Root:
    """Returns the root between a load that holds and one that does not, narrowed to a relative width of `tolerance`.

    With `whole` the ends are whole numbers, and one apart is narrow enough. Illinois' regula falsi for every term that
    breaks, the geometric middle for one that is infinite.
    """
    low, high = ask(good), ask(bad)
    if not holds(low) or holds(high):
        raise InputError("rate", (good, bad), "a bracket of the capacity")
    side = 0
    for _ in range(_MOST_RUNS):
        if bad - good <= max(tolerance * bad, float(whole)):
            break
        load = _next(good, low, bad, high, tolerance)
        load = min(max(round(load), good + 1), bad - 1) if whole else load
        terms = ask(load)
        # An end that stays is given half its weight, so that the other one comes to it.
        if holds(terms):
            high = _halved(high) if side < 0 else high
            good, low, side = load, terms, -1
        else:
            low = _halved(low) if side > 0 else low
            bad, high, side = load, terms, 1
    value, binding = _lowest(good, ask(good), bad, ask(bad))
    return Root(good if whole else value, good, binding)


def _next(good: float, low: Terms, bad: float, high: Terms, tolerance: float) -> float:
    """Returns where to look next: at the secant's root, or just beyond it where that may close the bracket."""
    load, _ = _lowest(good, low, bad, high)
    near = 1 - 0.95 * tolerance
    if good / bad >= near * near:
        # One more run is enough on whichever side it falls.
        return min(max(load, bad * (1 - 0.98 * tolerance)), good / (1 - 0.98 * tolerance))
    if load >= bad * near:
        return bad * near
    return max(load, good / near)


def _lowest(good: float, low: Terms, bad: float, high: Terms) -> tuple[float, str]:
    """Returns the lowest root of the terms that break at `bad`, each on the line through its ends over the load's logarithm."""
    roots = [(_secant(good, low[name], bad, over), name) for name, over in high.items() if over > 0]
    return min(roots)


def _secant(good: float, low: float, bad: float, high: float) -> float:
    share = high / (high - low) if math.isfinite(low) and math.isfinite(high) else 0.5
    return bad * math.pow(good / bad, share)


def _halved(terms: Terms) -> Terms:
    return {name: over / 2 for name, over in terms.items()}


def downwards(ask: Ask, bad: float, least: float, tolerance: float, whole: bool = False) -> Iterator[float]:
    """Yields ever lower loads from one that does not hold, until one holds or `least` has been yielded."""
    before, load = bad, bad
    while load > least and not holds(ask(load)):
        terms, terms_before = ask(load), ask(before)
        if load == bad and math.isinf(worst(terms)[0]):
            # What is infinite is so at any load, unless requests are dropped for being late.
            before, load = load, least
        else:
            lower = min(_below(load, over, before, terms_before[name], name) for name, over in terms.items() if over > 0)
            lower = min(max(lower, _LARGEST_STEP * load), load * (1 - 1.5 * tolerance))
            before, load = load, max(math.floor(lower) if whole else lower, least)
        yield load


def _below(load: float, over: float, before: float, over_before: float, name: str) -> float:
    """Returns a load at which a term that breaks by `over`, and broke by `over_before` at a load before, may hold."""
    if before == load or not over < over_before < math.inf:
        return load * _FIRST_STEP if name.rpartition(".")[2].startswith(_QUEUES) else load * math.exp(-over - _SLACK)
    exponent = (over_before - over) / math.log(before / load)
    if exponent > _KNEE or name == BACKLOG:
        return load * math.exp(-(1.15 * over + _SLACK) / min(exponent, _STEEPEST))
    # Below the knee a latency is a line over the load, and may be too long even without any.
    value, value_before = math.exp(over), math.exp(over_before)
    slope = (value_before - value) / (before - load)
    return (1 - _SLACK - value) / slope + load
