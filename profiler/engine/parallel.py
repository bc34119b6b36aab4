"""Parallelism: which heads, MLP columns and layers a process computes, and how partial sums are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from profiler.engine.architecture import Architecture
from simulator.errors import InputError
from simulator.memory import layers_of_stages


@dataclass(frozen=True)
class Group:
    """One process of an engine: number `rank` of the `size` that share each layer of pipeline stage `stage`; by default alone.

    `team` is torch's group of those that share its stage, None for all processes.
    """

    rank: int = 0
    size: int = 1
    stage: int = 0
    stages: int = 1
    team: Any = None

    @property
    def processes(self) -> int:
        """The processes of the engine."""
        return self.size * self.stages

    @property
    def number(self) -> int:
        """The process among all of the engine; the first one drives."""
        return self.stage * self.size + self.rank

    @property
    def first(self) -> bool:
        """Whether its stage takes tokens."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether its stage gives logits."""
        return self.stage == self.stages - 1

    def add_up(self, partial: Tensor) -> Tensor:
        """Returns the sum of its stage's tensors, in place of this one's."""
        if self.size > 1:
            torch.distributed.all_reduce(partial, group=self.team)
        return partial

    def told(self, message: Any) -> Any:
        """Returns the first process's message in all of them; whoever is alone told himself."""
        if self.processes == 1:
            return message
        box = [message]
        torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def agreed(self, values: Tensor) -> Tensor:
        """Returns the tensor of its stage's first process in all of them."""
        if self.size > 1:
            torch.distributed.broadcast(values, src=self.stage * self.size, group=self.team)
        return values

    def least(self, count: int) -> int:
        """Returns the smallest of all processes' numbers."""
        if self.processes == 1:
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

    def layers(self, count: int, partition: tuple[int, ...] | None = None) -> range:
        """Returns the layers of its stage, evenly as the simulator splits them or by `partition`; raises InputError."""
        if self.stages > count:
            raise InputError("pipeline_parallel_size", self.stages, f"1 to {count} (one layer a stage)")
        split = layers_of_stages(count, self.stages) if partition is None else list(partition)
        if len(split) != self.stages or sum(split) != count:
            allowed = f"layers of {self.stages} stages (pipeline_parallel_size) that add up to {count}"
            raise InputError("pp_layer_partition", split, allowed)
        before = sum(split[: self.stage])
        return range(before, before + split[self.stage])


ALONE = Group()
