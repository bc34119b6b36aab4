"""Scheduled scaling: when each unit of a fleet is on, so that the week costs the least.

The k-th unit is needed in every hour whose fleet has k units or more. It serves whenever it is needed; once on it stays for
`min_up_h`, and its start is billed before it serves. The cheapest such week is found exactly, by dynamic programming over
the hours with what a unit is doing as the state (off, or on for so many hours), once for every state that the week may begin
and end with, since weeks follow each other. A unit that is needed more hours is never cheaper, and none costs more than one
that is always on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.plan.request import WEEK_H

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Levels:
    """The units of a fleet from the base to the peak, those alike together.

    count[n] units are on in on[n, 168] and start in starts[n, 168]; start_h is what a start bills.
    """

    count: Ints
    on: Flags
    starts: Flags
    start_h: float

    def hours(self) -> Floats:
        """Returns the hours a week that one unit of each level is billed, starts included."""
        billed: Floats = self.on.sum(axis=1) + self.start_h * self.starts.sum(axis=1)
        return billed


def always(units: tuple[int, ...]) -> Levels:
    """Returns the static fleet: all units of the busiest hour, all week."""
    on = np.ones((1, WEEK_H), np.bool_)
    return Levels(np.array([max(units)]), on, np.zeros_like(on), 0.0)


@lru_cache(maxsize=256)
def scheduled(units: tuple[int, ...], min_up_h: int, start_h: float) -> Levels:
    """Returns the cheapest levels for units[168] that are needed hour by hour."""
    needs = np.array(units, np.int64)
    edges = np.unique(needs[needs > 0])
    count = np.diff(edges, prepend=0)
    needed = needs[None, :] >= edges[:, None]
    on = _cheapest(needed, min_up_h, start_h)
    return Levels(count, on, on & ~np.roll(on, 1, axis=1), start_h)


def _cheapest(needed: Flags, min_up_h: int, start_h: float) -> Flags:
    """Returns on[n, 168] of the cheapest week for needed[n, 168].

    States are 0 for off and a for on in its a-th hour, of which min_up_h stands for it and all later ones.
    """
    rows, last = len(needed), min_up_h
    cost = np.full((rows, last + 1, last + 1), np.inf)
    cost[:, np.arange(last + 1), np.arange(last + 1)] = 0.0
    stayed_on = np.empty((WEEK_H, rows, last + 1), np.bool_)
    stayed_off = np.empty((WEEK_H, rows, last + 1), np.bool_)
    for hour in range(WEEK_H):
        new = np.full_like(cost, np.inf)
        new[..., 1] = cost[..., 0] + 1 + start_h
        new[..., 2:] = cost[..., 1:-1] + 1
        stay = cost[..., last] + 1
        stayed_on[hour] = stay <= new[..., last]
        new[..., last] = np.minimum(stay, new[..., last])
        stayed_off[hour] = cost[..., 0] <= cost[..., last]
        off = np.minimum(cost[..., 0], cost[..., last])
        new[..., 0] = np.where(needed[:, hour, None], np.inf, off)
        cost = new
    return _walk_back(cost, stayed_on, stayed_off)


def _walk_back(cost: Floats, stayed_on: Flags, stayed_off: Flags) -> Flags:
    """Returns on[n, 168] along the cheapest way from a state around the week to itself."""
    rows, last = len(cost), cost.shape[1] - 1
    around = np.diagonal(cost, axis1=1, axis2=2)
    begun = last - np.argmin(around[:, ::-1], axis=1)
    on = np.empty((rows, WEEK_H), np.bool_)
    for row in range(rows):
        state = int(begun[row])
        for hour in reversed(range(WEEK_H)):
            on[row, hour] = state > 0
            if state == 0:
                state = 0 if stayed_off[hour, row, begun[row]] else last
            elif state == last and stayed_on[hour, row, begun[row]]:
                state = last
            else:
                state -= 1
    return on
