"""The plan of a draw: which requests there are, of which class, and which of them are turns of one session."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator import lengths
from simulator.draw.kinds import DrawnKind
from simulator.draw.streams import stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """N requests in M strands, each of which is a session or a single request: the turns of a strand lie side by side.

    kind[n] is a number into the classes, strand[n] that of the strand, turn[n] the place in it from 0.
    """

    kind: Ints
    strand: Ints
    turn: Ints

    @property
    def begins(self) -> Ints:
        """The first request of each strand, int64[m]."""
        return np.flatnonzero(self.turn == 0)


def plan(kinds: Sequence[DrawnKind], count: int, seed: int, stratified: bool) -> Plan:
    """Returns the plan of `count` requests: as many of each class as its share, exactly where `stratified` without sessions.

    The last session is cut short where it would be too long.
    """
    mean_turns = np.array([lengths.mean(kind.sessions.turns) if kind.sessions else 1.0 for kind in kinds])
    shares = np.array([kind.share for kind in kinds]) / mean_turns
    needed = math.ceil(count * float(shares.sum()))
    while True:
        kind_of = _choose(shares / shares.sum(), needed, seed, stratified)
        turns = _turns(kinds, kind_of, seed, stratified)
        missing = count - int(turns.sum())
        if missing <= 0:
            break
        needed += math.ceil(missing * float(shares.sum()))
    until = np.minimum(np.cumsum(turns), count)
    turns = np.diff(until, prepend=0)
    strand = np.repeat(np.arange(len(turns)), turns)
    return Plan(kind_of[strand], strand, np.arange(count) - (until - turns)[strand])


def _choose(shares: Floats, count: int, seed: int, stratified: bool) -> Ints:
    """Returns the class of each strand; stratified, the numbers of each class are within one of their shares."""
    if len(shares) == 1:
        return np.zeros(count, np.int64)
    u = lengths.uniforms(count, stream(seed, "classes"), stratified)
    return np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(shares) - 1).astype(np.int64)


def _turns(kinds: Sequence[DrawnKind], kind_of: Ints, seed: int, stratified: bool) -> Ints:
    turns = np.ones(len(kind_of), np.int64)
    for number, kind in enumerate(kinds):
        if kind.sessions is not None:
            strands = np.flatnonzero(kind_of == number)
            turns[strands] = lengths.sample(
                kind.sessions.turns, lengths.uniforms(len(strands), stream(seed, "turns", number), stratified)
            )
    return turns
