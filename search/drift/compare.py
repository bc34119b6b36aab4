"""Compare: both sides number by number, and which changes are larger than sampling explains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from search.drift.blocks import explained, quantile_of_t
from search.drift.document import Change
from search.drift.lengths import COMPARISONS, LENGTHS, lengths
from search.drift.measures import Number, numbers
from search.drift.traffic import Side
from search.fidelity import FINAL
from search.sweep.compare import FALSE_ALARM
from search.sweep.numbers import change

# A capacity is published to within so much: what traffic moved by less, no answer can tell.
TOLERANCE = FINAL.spread
UNIT = {"prompt_tokens": "tokens", "output_tokens": "tokens", "rate": "requests/s", "burst": "", "prefix_reuse": "share",
        "classes": "share"}  # fmt: skip


def compare(study: Side, trace: Side, block_size: int, seed: int, tolerance: float = TOLERANCE) -> list[Change]:
    """Returns every number that either side has, those of one side alone unjudged.

    A change counts that is beyond `tolerance` (a share of the number, or of all requests) and beyond what chance explains:
    all numbers together raise a false alarm with a probability of FALSE_ALARM.
    """
    first = min(len(study.traffic), len(trace.traffic))
    clock = study.traffic.rate_rps if study.timed and trace.timed else None
    old = {each.name: each for each in numbers(study, clock, block_size, first, seed)}
    new = {each.name: each for each in numbers(trace, clock, block_size, first, seed + 1)}
    _fill_classes(old, new)
    names = list(dict.fromkeys([*old, *new]))
    alpha = FALSE_ALARM / (sum(name in old and name in new for name in names) + COMPARISONS)
    found = [_changed(old.get(name), new.get(name), alpha, tolerance) for name in names]
    for group in LENGTHS:
        before, now = (getattr(side.traffic, group).astype(np.float64) for side in (study, trace))
        found += lengths(group, before, now, alpha, tolerance, seed)
    return _in_order(found)


def _fill_classes(old: dict[str, Number], new: dict[str, Number]) -> None:
    """Gives a class that one side alone has a share of 0 on the other, where that has classes too."""
    for here, there in ((old, new), (new, old)):
        if any(each.group == "classes" for each in there.values()):
            for each in [each for each in here.values() if each.group == "classes" and each.name not in there]:
                there[each.name] = Number(each.name, "classes", 0.0, 0.0, math.inf, share=True)


def _changed(old: Number | None, new: Number | None, alpha: float, tolerance: float) -> Change:
    one = old or new
    assert one is not None, "a name is of either side"
    if old is None or new is None:
        return _told(one, old, new, None, None)
    error, freedom = math.hypot(old.error, new.error), _freedom(old, new)
    chance = quantile_of_t(alpha, freedom) * error if error else 0.0
    if one.share:
        moved = new.value - old.value
        return _told(one, old, new, chance, abs(moved) > max(chance, tolerance))
    moved = abs(math.log(new.value / old.value)) if old.value > 0 and new.value > 0 else math.inf
    beyond = old.value != new.value and moved > max(chance, math.log1p(tolerance))
    return _told(one, old, new, explained(chance, up=new.value >= old.value), beyond)


def _freedom(old: Number, new: Number) -> float:
    """Returns the degrees of freedom of a difference, by Welch and Satterthwaite."""
    squares = [(each.error**2, each.freedom) for each in (old, new) if each.error]
    total = sum(square for square, _ in squares)
    return total**2 / sum(square**2 / freedom for square, freedom in squares) if squares else math.inf


def _told(one: Number, old: Number | None, new: Number | None, chance: float | None, beyond: bool | None) -> Change:
    before = None if old is None else old.value
    now = None if new is None else new.value
    moved = None if before is None or now is None or one.share else change(before, now)
    return Change(
        name=one.name,
        group=one.group,
        unit=UNIT[one.group],
        study=before,
        trace=now,
        change=moved if moved is not None and math.isfinite(moved) else None,
        by_chance=chance,
        beyond=beyond,
    )


def _in_order(found: Sequence[Change]) -> list[Change]:
    order: list[str] = [*UNIT]
    return sorted(found, key=lambda each: order.index(each.group))
