"""Tensor parallelism: which share of heads and MLP columns a process computes, and how partial sums are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from profiler.engine.architecture import Architecture
from simulator.errors import InputError


@dataclass(frozen=True)
class Group:
    """One process of a tensor-parallel group of `size`; the default is alone."""

    rank: int = 0
    size: int = 1

    @property
    def processes(self) -> int:
        """The processes of the engine."""
        return self.size

    def add_up(self, partial: Tensor) -> Tensor:
        """Returns the sum of all processes' tensors, in place of this one's."""
        if self.size > 1:
            torch.distributed.all_reduce(partial)
        return partial

    def told(self, message: Any) -> Any:
        """Returns the first process's message in all of them; whoever is alone told himself."""
        if self.size == 1:
            return message
        box = [message]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def agreed(self, values: Tensor) -> Tensor:
        """Returns the first process's tensor in all of them."""
        if self.size > 1:
            torch.distributed.broadcast(values, src=0)
        return values

    def least(self, count: int) -> int:
        """Returns the smallest of all processes' numbers."""
        if self.size == 1:
            return count
        value = torch.tensor(count)
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MIN)
        return int(value)

    def check(self, architecture: Architecture, field: str = "tensor_parallel_size") -> None:
        """Raises InputError under `field` when heads or MLP columns do not split evenly."""
        for width in (architecture.heads, architecture.kv_heads, architecture.intermediate_size):
            if width % self.size:
                widths = f"{architecture.heads} heads, {architecture.kv_heads} KV heads, {architecture.intermediate_size} columns"
                raise InputError(field, self.size, f"a common divisor of {widths}")

    def share(self, width: int) -> slice:
        """Returns this process's part of so many heads or columns."""
        each = width // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


ALONE = Group()
