"""Projections, the LM head, the router: rows times a weight that comes from memory."""

from __future__ import annotations

from torch.nn.functional import linear

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import Gemm


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns rows[m, k] times the transpose of weight[n, k]."""
    operator = subject.operator
    assert isinstance(operator, Gemm)
    rows = machine.random(place[0], operator.k, dtype=operator.dtype)
    weight = machine.random(operator.n, operator.k, dtype=operator.dtype)
    return Case(lambda: linear(rows, weight), flush=True)
