"""Patience: the priority of each class, and when its requests are dropped unless they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simulator import lengths
from simulator.draw.kinds import Patience
from simulator.draw.streams import stream
from simulator.traffic import Traffic


def patient(traffic: Traffic, classes: Sequence[Patience], seed: int, stratified: bool) -> Traffic:
    """Returns the traffic with the priorities, deadlines and cancellations of its classes, numbered as in `class_of`.

    A user who gives up no earlier than the deadline has no part in it.
    """
    priority, cancel_after_s = traffic.priority.copy(), traffic.cancel_after_s.copy()
    expires = traffic.expires.copy()
    for number, each in enumerate(classes):
        rows = np.flatnonzero(traffic.class_of == number)
        if each.priority is not None:
            priority[rows] = each.priority
        if each.deadline_s is not None:
            cancel_after_s[rows], expires[rows] = each.deadline_s, True
        if each.cancellation is not None:
            rng = stream(seed, "cancellations", number)
            gone = rows[lengths.uniforms(len(rows), rng, stratified) < each.cancellation.share]
            after_s = lengths.seconds(each.cancellation.after_s, lengths.uniforms(len(gone), rng, stratified))
            sooner = after_s < cancel_after_s[gone]
            cancel_after_s[gone[sooner]], expires[gone[sooner]] = after_s[sooner], False
    return replace(traffic, priority=priority, cancel_after_s=cancel_after_s, expires=expires)
