"""Routed experts of one layer: two grouped GEMMs with the activation between them, rows spread evenly over the experts."""

from __future__ import annotations

import torch
from torch.nn.functional import gelu, grouped_mm, silu

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import Experts


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the MLPs of `activated` experts on `assigned` rows, already sorted by expert."""
    operator = subject.operator
    assert isinstance(operator, Experts)
    assigned, activated = place
    hidden, width, gated = operator.hidden_size, operator.intermediate_size, operator.gated
    rows = machine.random(assigned, hidden, dtype=operator.dtype)
    up = machine.random(activated, hidden, (2 if gated else 1) * width, dtype=operator.dtype)
    down = machine.random(activated, width, hidden, dtype=operator.dtype)
    ends = [assigned * (expert + 1) // activated for expert in range(activated)]
    offsets = torch.tensor(ends, dtype=torch.int32, device=machine.torch_device)

    def run() -> torch.Tensor:
        inner = grouped_mm(rows, up, offs=offsets)
        wide = silu(inner[:, :width]) * inner[:, width:] if gated else gelu(inner)
        return grouped_mm(wide, down, offs=offsets)

    return Case(run, flush=True)
