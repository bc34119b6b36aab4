"""The runner: one step on the device, from the parts that take part to the tokens that they sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from profiler.engine.batch import Batch, Ints, Part, lay_out, lay_out_window
from profiler.engine.graphs import Graphs
from profiler.engine.model import Model
from profiler.engine.sampling import pick


class Tokens(Protocol):
    """The tokens of a step, which may still be under way."""

    def tolist(self) -> list[int]:
        """Returns them, once the step is done."""


class Sampleless:
    """A step that samples nothing, which is over when the device says so: an empty tensor would not wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._done = torch.cuda.current_stream(device).record_event()

    def tolist(self) -> list[int]:
        """Returns no tokens, once the step is done."""
        self._done.synchronize()
        return []


class Runner:
    """A model, its KV pool, and the token that each owner sampled last, which later steps may await.

    The pool's last block belongs to nobody: it is where rows that only fill a step up put their KV.
    """

    RUN, WINDOW = range(2)

    def __init__(self, model: Model, graphs: Graphs, pool: Tensor, block_size: int, most_bytes: int | None = None) -> None:
        self.model, self.block_size = model, block_size
        self.device = model.device
        self.pool, self.scratch = pool, pool.shape[2] - block_size
        self.launch = graphs(model, self.pool, self.scratch, most_bytes)
        self._latest = torch.zeros(0, dtype=torch.int64, device=self.device)

    @property
    def graph_report(self) -> list[tuple[object, ...]]:
        """What was measured and chosen where graphs are chosen: see graphs/_choice.py; empty elsewhere."""
        return list(getattr(self.launch, "report", ()))

    def run(self, parts: Sequence[Part], temperatures: Sequence[float], uniforms: Sequence[float]) -> Tokens:
        """Returns the tokens of the parts that sample, in their order; on CUDA they may still be under way.

        `temperatures` and `uniforms` have one number for each of those parts.
        """
        self.model.group.told((self.RUN, parts, temperatures, uniforms))
        tokens = self._run(parts, temperatures, uniforms)
        return tokens if len(tokens) or self.device.type != "cuda" else Sampleless(self.device)

    def window(
        self, tokens: Sequence[int], start: int, blocks: Ints, rows: int, temperature: float, uniforms: Sequence[float]
    ) -> list[int]:
        """Returns the tokens after each of `rows` places from `start` on, of which the first have `tokens`.

        The step has the same shape whatever they are; it writes the KV of the tokens into the request's `blocks`. Without
        `uniforms`, of which there are as many as rows, nothing is sampled.
        """
        what = tokens, start, blocks, rows, temperature, uniforms
        self.model.group.told((self.WINDOW, *what))
        return self._window(*what).tolist()

    def follow(self) -> None:
        """Runs the steps that the first process of the group runs, until it says that there are no more."""
        while (step := self.model.group.told(None)) is not None:
            kind, *what = step
            self._run(*what) if kind == self.RUN else self._window(*what)

    def close(self) -> None:
        """Lets the other processes of the group end."""
        self.model.group.told(None)

    def picked(
        self, logits: Tensor, batch: Batch, parts: Sequence[Part], temperatures: Sequence[float], uniforms: Sequence[float]
    ) -> Tensor:
        """Returns the tokens of the parts that sample, in their order, and remembers them for later steps."""
        self._make_room(max([part.owner for part in parts]) + 1)
        ranks = np.argsort(batch.order, kind="stable")
        if any(temperatures):
            how = np.empty((2, len(ranks)))
            how[:, ranks] = temperatures, uniforms
            tokens = pick(logits, *torch.from_numpy(how).to(self.device).unbind(0))
        else:
            tokens = logits.argmax(dim=-1)
        tokens = self.model.group.agreed(tokens)
        self._latest[batch.askers] = tokens
        in_order = batch.order == tuple(sorted(batch.order))
        return tokens if in_order else tokens[torch.from_numpy(ranks).to(self.device)]

    @torch.inference_mode()
    def _run(self, parts: Sequence[Part], temperatures: Sequence[float], uniforms: Sequence[float]) -> Tensor:
        batch = lay_out(parts, self.block_size, self.device)
        if batch.awaited:
            self._make_room(max(part.owner for part in parts) + 1)
            batch = batch.with_rows(torch.where(batch.rows < 0, self._latest[batch.owners], batch.rows))
        return self.picked(self.launch(batch), batch, parts, temperatures, uniforms)

    @torch.inference_mode()
    def _window(
        self, tokens: Sequence[int], start: int, blocks: Ints, rows: int, temperature: float, uniforms: Sequence[float]
    ) -> Tensor:
        batch = lay_out_window(tokens, start, blocks, rows, self.block_size, self.scratch, bool(uniforms), self.device)
        logits: Tensor = self.model(batch, self.pool)
        chances = torch.tensor(uniforms, dtype=torch.float64, device=self.device)
        return self.model.group.agreed(pick(logits, torch.full_like(chances, temperature), chances))

    def _make_room(self, owners: int) -> None:
        more = owners - len(self._latest)
        if more > 0:
            self._latest = torch.cat([self._latest, self._latest.new_zeros(more)])
