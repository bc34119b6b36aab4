"""Content: which blocks of tokens the requests of a run have in common, in blocks of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

Ints = NDArray[np.int64]
# Blocks that are numbered at a time.
PORTION = 1_000_000


@dataclass(frozen=True, eq=False)
class Content:
    """Numbers for the blocks of `block_tokens` tokens of each request: equal ids are equal tokens after equal tokens.

    ids[starts[i]:starts[i + 1]] are those of request i in order; ids int64[m] are 0 or more, starts int64[n + 1].
    They are all the blocks that its prompt and output fill; where not `outputs`, those of its prompt, of which the last
    may be part-filled, and no other request has its output. block_tokens 0 stands for the deployment's own block size.
    """

    ids: Ints
    starts: Ints
    block_tokens: int
    outputs: bool = True

    def __len__(self) -> int:
        """Returns n, the requests."""
        return len(self.starts) - 1

    def of(self, request: int) -> Ints:
        """Returns the ids of one request, int64[its blocks]."""
        return self.ids[self.starts[request] : self.starts[request + 1]]

    def between(self, first: int, last: int) -> Content:
        """Returns the content of the requests from `first` to before `last`."""
        starts = self.starts[first : last + 1]
        return Content(self.ids[starts[0] : starts[-1]], starts - starts[0], self.block_tokens, self.outputs)

    def blocks(self, prompt_tokens: Ints, output_tokens: Ints, block_size: int) -> Content:
        """Returns the ids of the blocks of `block_size` tokens that prompt and output of each request fill.

        A block is common to two requests when the recorded block is that holds its last token: what two requests have in
        common is thus known to whole recorded blocks and no finer. Raises InputError where a request has more recorded
        blocks than its tokens fill, since then they are of another size.
        """
        size = self.block_tokens or block_size
        known = prompt_tokens + (output_tokens if self.outputs else 0)
        recorded = np.diff(self.starts)
        most = known // size if self.outputs else -(-known // size)
        if (recorded > most).any():
            row = int(np.argmax(recorded > most))
            allowed = f"at most {most[row]} for its {known[row]} tokens in blocks of {size} (block_size of the deployment)"
            raise InputError(f"workload.trace (blocks of request {row})", int(recorded[row]), allowed)
        counts = (prompt_tokens + output_tokens) // block_size
        common = np.minimum(known, recorded * size) // block_size
        starts, ids = _running(counts), np.empty(int(counts.sum()), np.int64)
        # As many blocks end inside a recorded one at most; which of them it is, makes the id.
        parts = -(-size // block_size)
        own = _running(counts - common)[:-1] + (int(self.ids.max(initial=-1)) + 1) * parts - common
        for rows in _portions(starts):
            request, place = _places(counts, rows)
            numbers = own[request] + place
            told = np.flatnonzero(place < common[request])
            request, place = request[told], place[told]
            inside = ((place + 1) * block_size - 1) // size
            numbers[told] = self.ids[self.starts[request] + inside] * parts + (place - inside * size // block_size)
            ids[starts[rows.start] : starts[rows.stop]] = numbers
        return Content(ids, starts, block_size)


@dataclass(frozen=True, eq=False)
class Texts:
    """What drawn requests are made of: a system prompt, then a text of which later requests may be a continuation.

    Request i begins with the first shared_tokens[i] tokens of the system prompt group[i] (int64[n]; -1 for none, and
    shared_tokens 0) and goes on in text[i], int64[n]; requests of one text have one system prompt and as much of it.
    """

    group: Ints
    shared_tokens: Ints
    text: Ints

    def between(self, first: int, last: int) -> Texts:
        """Returns what the requests from `first` to before `last` are made of."""
        return Texts(self.group[first:last], self.shared_tokens[first:last], self.text[first:last])

    def blocks(self, prompt_tokens: Ints, output_tokens: Ints, block_size: int) -> Content:
        """Returns the ids of the blocks of `block_size` tokens that prompt and output of each request fill."""
        counts = (prompt_tokens + output_tokens) // block_size
        starts, common = _running(counts), self.shared_tokens // block_size
        group_first = _numbers(self.group, common)
        text_first = _numbers(self.text, np.maximum(counts - common, 0)) + group_first[-1]
        group_at, text_at = group_first[np.maximum(self.group, 0)], text_first[self.text] - common
        ids = np.empty(starts[-1], np.int64)
        for rows in _portions(starts):
            request, place = _places(counts, rows)
            of_group = place < common[request]
            ids[starts[rows.start] : starts[rows.stop]] = np.where(of_group, group_at[request], text_at[request]) + place
        return Content(ids, starts, block_size)


def _running(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _portions(starts: Ints) -> Iterator[slice]:
    """Yields stretches of requests of about a million blocks, so that working arrays stay small."""
    ends = np.searchsorted(starts, np.arange(PORTION, starts[-1] + PORTION, PORTION))
    edges = np.unique(np.concatenate([[0], np.minimum(ends, len(starts) - 1)])).tolist()
    yield from (slice(first, last) for first, last in pairwise(edges))


def _places(counts: Ints, rows: slice) -> tuple[Ints, Ints]:
    """Returns for each block of a stretch of requests its request and its place in it."""
    held = counts[rows]
    request = np.repeat(np.arange(rows.start, rows.stop), held)
    return request, np.arange(len(request)) - np.repeat(np.cumsum(held) - held, held)


def _numbers(key: Ints, needed: Ints) -> Ints:
    """Returns where the numbers of each key begin when each gets as many as the neediest of its requests; the total last."""
    most = np.zeros(int(key.max(initial=-1)) + 1, np.int64)
    held = key >= 0
    np.maximum.at(most, key[held], needed[held])
    return _running(most)
