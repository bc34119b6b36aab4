"""The seam of graphs: a step is captured on tensors of its own, which later steps of the same sizes are copied into.

`cuda` captures a CUDA graph. `rerun` captures nothing and computes the step anew: what runs without a device to show that
sizes, tensors and copies are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from profiler.engine.attention import plain
from profiler.engine.batch import Batch
from profiler.engine.model import Model
from simulator.errors import InputError

WARM_UPS = 2
# Tensors of a batch that the model does not read.
UNREAD = ("askers",)
Step = Callable[[Batch], Tensor]


class Captured(Protocol):
    """A captured step."""

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""

    def copy(self, batch: Batch) -> None:
        """Copies a batch of the captured sizes to where the step reads it."""

    def replay(self) -> Tensor:
        """Returns the logits of what was copied last; the next replay overwrites them."""


Capture = Callable[[Step, Batch], Captured]


@dataclass(frozen=True, eq=False)
class _Copied:
    batch: Batch

    def copy(self, batch: Batch) -> None:
        """Copies every tensor that the model reads."""
        for field in fields(Batch):
            static = getattr(self.batch, field.name)
            if isinstance(static, Tensor) and field.name not in UNREAD:
                static.copy_(getattr(batch, field.name))

    @property
    def _static_bytes(self) -> int:
        tensors = (getattr(self.batch, field.name) for field in fields(Batch))
        return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))


@dataclass(frozen=True, eq=False)
class _Rerun(_Copied):
    step: Step
    logits: Tensor

    @property
    def nbytes(self) -> int:
        """The tensors that go in and come out."""
        return self._static_bytes + self.logits.nbytes

    def replay(self) -> Tensor:
        """Returns the logits, computed anew."""
        return self.logits.copy_(self.step(self.batch))


@dataclass(frozen=True, eq=False)
class _Cuda(_Copied):
    graph: torch.cuda.CUDAGraph
    logits: Tensor
    pool_bytes: int

    @property
    def nbytes(self) -> int:
        """The tensors that go in, and what the graph's memory pool reserved."""
        return self._static_bytes + self.pool_bytes

    def replay(self) -> Tensor:
        """Returns the logits, once the graph ran."""
        self.graph.replay()
        return self.logits


def rerun(step: Step, batch: Batch) -> Captured:
    """Returns the step over a batch as it would be captured."""
    return _Rerun(batch, step, step(batch).clone())


def cuda(step: Step, batch: Batch) -> Captured:
    """Returns the CUDA graph of a step; computing it more than once writes the same KV to the same slots."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            step(batch)
    torch.cuda.current_stream().wait_stream(aside)
    before = torch.cuda.memory_reserved()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = step(batch)
    return _Cuda(batch, graph, logits, torch.cuda.memory_reserved() - before)


def check(model: Model, pool: Tensor, name: str, field: str = "graphs") -> None:
    """Raises InputError under `field` without CUDA, and for models whose steps ask the host or other processes."""
    if pool.device.type != "cuda":
        raise InputError(field, name, f"off on {pool.device.type}")
    if model.arch.experts or model.group.processes > 1:
        raise InputError(field, name, "off for models with experts and for engines of more than one process")
    if model.attend is plain.attend:
        raise InputError(field, name, "off with the attention backend plain, which asks the host for lengths")
