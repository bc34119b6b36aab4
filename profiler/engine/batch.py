"""Batch: one step laid out flat, decodes first, then chunks of prompts, and where each token's KV lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Part(NamedTuple):
    """What one request does in a step: `tokens` (-1: the one that it sampled last) after `before` computed ones.

    `blocks` hold the KV of all of its tokens in order, those of this step included; `owner` is its number, of a few.
    """

    tokens: Sequence[int] | Ints
    before: int
    blocks: Ints
    owner: int
    sampled: bool


@dataclass(frozen=True)
class Chunk:
    """Part of a prompt: rows `start` to `start + length` of the batch, and the slots of all KV that they may see."""

    start: int
    length: int
    slots: Tensor


@dataclass(frozen=True)
class Batch:
    """A step of T tokens on the device: the first D rows are decodes, whose KV lies in decode_slots[D, most], padded.

    rows[T], positions[T], slots[T] (where new KV goes), decode_lengths[D] (KV that a decode sees, its own included);
    sampled[S] are the rows whose logits are asked for, askers[S] who asks; `awaited` marks rows whose token is read from
    the device, owners[T] say whose.
    """

    rows: Tensor
    positions: Tensor
    slots: Tensor
    owners: Tensor
    awaited: bool
    decode_slots: Tensor
    decode_lengths: Tensor
    chunks: tuple[Chunk, ...]
    sampled: Tensor
    askers: Tensor
    order: tuple[int, ...]

    def with_rows(self, rows: Tensor) -> Batch:
        """Returns the batch with other tokens."""
        return replace(self, rows=rows, awaited=False)

    @property
    def decodes(self) -> int:
        """The rows that are decodes."""
        return int(self.decode_lengths.shape[0])


def lay_out(parts: Sequence[Part], block_size: int, device: torch.device) -> Batch:
    """Returns the batch of these parts; `order` says, for each sampled row, which of the sampling parts it belongs to."""
    by_kind = sorted(range(len(parts)), key=lambda k: len(parts[k].tokens) > 1)
    ordered = [parts[k] for k in by_kind]
    lengths = np.array([len(part.tokens) for part in ordered], dtype=np.int64)
    before = np.array([part.before for part in ordered], dtype=np.int64)
    owners = np.array([part.owner for part in ordered], dtype=np.int64)
    count, ends = int((lengths == 1).sum()), np.cumsum(lengths)
    rows = np.array([token for part in ordered for token in part.tokens], dtype=np.int64)
    # Most steps are of decodes alone, whose places and slots are found together.
    table = _padded([part.blocks for part in ordered[:count]])
    own = table[np.arange(count), before[:count] // block_size] * block_size + before[:count] % block_size
    chunks = tuple(
        Chunk(int(end) - len(part.tokens), len(part.tokens), _put(_seen(part, block_size), device))
        for part, end in zip(ordered[count:], ends[count:], strict=True)
    )
    sampling = [k for k, part in enumerate(ordered) if part.sampled]
    return Batch(
        rows=_put(rows, device),
        positions=_put(np.arange(len(rows)) + np.repeat(before - ends + lengths, lengths), device),
        slots=_put(np.concatenate([own, *(_seen(part, block_size)[part.before :] for part in ordered[count:])]), device),
        owners=_put(np.repeat(owners, lengths), device),
        awaited=bool((rows < 0).any()),
        decode_slots=_slots(table, block_size, device)[:, : int(before[:count].max(initial=-1)) + 1],
        decode_lengths=_put(before[:count] + 1, device),
        chunks=chunks,
        sampled=_put(ends[sampling] - 1, device),
        askers=_put(owners[sampling], device),
        order=tuple([by_kind[k] for k in sampling]),
    )


def lay_out_window(
    tokens: Sequence[int], start: int, blocks: Ints, rows: int, block_size: int, scratch: int, asked: bool, device: torch.device
) -> Batch:
    """Returns one chunk of `rows` places from `start` on, the first of which have `tokens`, the others filled up.

    What it computes has the same shape whatever the tokens are; all rows sample, or none where nobody `asked`.
    """
    places, more = np.arange(start + len(tokens)), rows - len(tokens)
    kept = blocks[places // block_size] * block_size + places % block_size
    slots = np.concatenate([kept, np.full(more, scratch)])
    nobody = np.zeros(0, dtype=np.int64)
    return Batch(
        rows=_put(np.array([*tokens, *[0] * more], dtype=np.int64), device),
        positions=_put(np.arange(start, start + rows).clip(max=start + len(tokens) - 1), device),
        slots=_put(slots[start:], device),
        owners=_put(np.zeros(rows, dtype=np.int64), device),
        awaited=False,
        decode_slots=_put(nobody.reshape(0, 0), device),
        decode_lengths=_put(nobody, device),
        chunks=(Chunk(0, rows, _put(slots, device)),),
        sampled=_put(np.arange(rows) if asked else nobody, device),
        askers=_put(nobody, device),
        order=(),
    )


def _seen(part: Part, block_size: int) -> Ints:
    """Returns where the KV of all tokens lies that a part has computed with this step."""
    places = np.arange(part.before + len(part.tokens))
    slots: Ints = part.blocks[places // block_size] * block_size + places % block_size
    return slots


def _slots(blocks: Ints, block_size: int, device: torch.device) -> Tensor:
    """Returns the slots of blocks[..., n] in order, [..., n * block_size]; they are far more than the blocks, which travel."""
    inside = torch.arange(block_size, device=device)
    return (_put(blocks, device)[..., None] * block_size + inside).flatten(-2)


def _padded(rows: Sequence[Ints]) -> Ints:
    """Returns the rows as one table, [rows, longest], short ones filled with 0."""
    table = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _put(array: Ints, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
