"""Taking one sample on this machine: tensors made, the operator timed, what does not fit left out."""

from __future__ import annotations

import torch

from profiler import ops
from profiler.clock import sample_of
from profiler.group import Groups
from profiler.machine import Machine
from profiler.sample import Place, Sample
from profiler.subject import Subject, bytes_of
from simulator.optime.operators import Collective

# Tensors, outputs and masks take so many times what the operator moves.
COPIES = 2.0


class Taker:
    """Measures points on a machine, and what several ranks do together among processes of it."""

    def __init__(self, machine: Machine) -> None:
        """Takes the machine."""
        self.machine = machine
        self.groups = Groups(machine.kind)

    def __call__(self, subject: Subject, place: Place) -> Sample | None:
        """Returns the sample of a point, or None where it does not fit into memory."""
        if COPIES * bytes_of(subject.at(place)) > self.machine.free_bytes:
            return None
        if isinstance(subject.operator, Collective):
            return self.groups.take(subject.kind, subject.operator.gpus, place)
        try:
            case = ops.module_of(subject.operator).prepare(subject, place, self.machine)
            return sample_of(case, self.machine)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None

    def close(self) -> None:
        """Ends the processes."""
        self.groups.close()
