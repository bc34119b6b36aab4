"""A pipeline: stages of layers in processes of their own, so that several steps are under way, each in another stage.

The first process drives. It tells the others what a step is without waiting for them and computes the first stage; each
stage waits for what the one before it hands on; the last one sends the tokens back, for which nobody waits until the step
lands. Steps stay in order in every stage.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from profiler.engine.batch import Part, lay_out
from profiler.engine.graphs import Graphs
from profiler.engine.model import Model
from profiler.engine.parallel import Group
from profiler.engine.runner import Runner, Tokens

# What travels between two processes goes by its kind, so that kinds do not overtake each other's place.
LENGTH, MESSAGE, HANDED, TOKENS = range(4)


class Awaited:
    """Tokens of a step that is still in the pipeline."""

    def __init__(self, count: int, source: int) -> None:
        self._count = count
        # A step that samples nothing sends one number to say that it is done.
        self._tokens = torch.zeros(max(count, 1), dtype=torch.int64)
        self._work = torch.distributed.irecv(self._tokens, source, tag=TOKENS)

    def tolist(self) -> list[int]:
        """Returns the tokens, once the last stage has sent them."""
        if self._work is not None:
            self._work.wait()
        return [int(token) for token in self._tokens[: self._count]]


class Line:
    """What one process sends to others of its engine without waiting until it is received, and what it receives."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._sent: deque[list[tuple[Any, Tensor]]] = deque([[]])

    def tell(self, message: object) -> None:
        """Sends a message to all others."""
        payload = torch.frombuffer(bytearray(pickle.dumps(message)), dtype=torch.uint8)
        for number in range(1, self.group.processes):
            self._send(torch.tensor([len(payload)]), number, LENGTH)
            self._send(payload, number, MESSAGE)

    def hear(self) -> Any:
        """Returns the next message of the first process."""
        length = torch.zeros(1, dtype=torch.int64)
        torch.distributed.recv(length, 0, tag=LENGTH)
        payload = torch.empty(int(length), dtype=torch.uint8)
        torch.distributed.recv(payload, 0, tag=MESSAGE)
        return pickle.loads(payload.numpy().tobytes())

    def hand_on(self, hidden: Tensor) -> None:
        """Sends what a stage computed to the next one."""
        self._send(hidden.contiguous(), self.group.number + self.group.size, HANDED)

    def handed(self, like: Tensor) -> Tensor:
        """Returns what the stage before computed, in the place of `like`."""
        torch.distributed.recv(like, self.group.number - self.group.size, tag=HANDED)
        return like

    def give_back(self, tokens: Tensor) -> None:
        """Sends a step's tokens to the first process."""
        told = tokens.cpu() if len(tokens) else torch.zeros(1, dtype=torch.int64)
        self._send(told.contiguous(), 0, TOKENS)

    def end_step(self) -> None:
        """Waits for what was sent so many steps ago that others have it, or soon will."""
        self._sent.append([])
        while len(self._sent) > 2 * self.group.stages:
            self._wait(self._sent.popleft())

    def close(self) -> None:
        """Waits until all that was sent is received."""
        while self._sent:
            self._wait(self._sent.popleft())

    def _send(self, tensor: Tensor, to: int, tag: int) -> None:
        # A tensor has to stay until it is received.
        self._sent[-1].append((torch.distributed.isend(tensor, to, tag=tag), tensor))

    @staticmethod
    def _wait(sent: list[tuple[Any, Tensor]]) -> None:
        for work, _ in sent:
            work.wait()


class PipelinedRunner(Runner):
    """A runner of one stage; that of the first process tells the others what to do."""

    def __init__(self, model: Model, graphs: Graphs, pool: Tensor, block_size: int, most_bytes: int | None = None) -> None:
        super().__init__(model, graphs, pool, block_size, most_bytes)
        self.line = Line(model.group)

    def run(self, parts: Sequence[Part], temperatures: Sequence[float], uniforms: Sequence[float]) -> Tokens:
        """Returns the tokens of the parts that sample, in their order, which are still under way."""
        group = self.model.group
        self.line.tell((parts, temperatures, uniforms))
        self._stage(parts, temperatures, uniforms)
        return Awaited(len(temperatures), group.size * (group.stages - 1))

    def follow(self) -> None:
        """Runs its stage of the steps that the first process tells of, until it says that there are no more."""
        while (step := self.line.hear()) is not None:
            self._stage(*step)
        self.line.close()

    def close(self) -> None:
        """Lets the other processes end."""
        self.line.tell(None)
        self.line.close()

    @torch.inference_mode()
    def _stage(self, parts: Sequence[Part], temperatures: Sequence[float], uniforms: Sequence[float]) -> None:
        group, model = self.model.group, self.model
        batch = lay_out(parts, self.block_size, self.device)
        place = torch.empty(batch.rows.shape[0], model.arch.hidden_size, dtype=model.dtype, device=self.device)
        made: Tensor = model(batch, self.pool, None if group.first else self.line.handed(place))
        if not group.last:
            self.line.hand_on(made)
        else:
            tokens = self.picked(made, batch, parts, temperatures, uniforms)
            if group.rank == 0:
                self.line.give_back(tokens)
        self.line.end_step()
