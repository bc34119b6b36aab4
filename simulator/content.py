"""Content: which blocks of tokens the requests of a run have in common, in blocks of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

Ints = NDArray[np.int64]


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
        starts, request, place = _spread((prompt_tokens + output_tokens) // block_size)
        last_token = (place + 1) * block_size - 1
        inside = last_token // size
        shared = (last_token < known[request]) & (inside < recorded[request])
        # As many blocks end inside a recorded one at most; which of them it is, makes the id.
        parts = -(-size // block_size)
        found = self.ids[(self.starts[request] + inside)[shared]]
        first = (inside[shared] * size) // block_size
        ids = np.empty(len(request), np.int64)
        ids[shared] = found * parts + (place[shared] - first)
        ids[~shared] = (int(self.ids.max(initial=-1)) + 1) * parts + np.arange(int((~shared).sum()))
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

    def blocks(self, prompt_tokens: Ints, output_tokens: Ints, block_size: int) -> Content:
        """Returns the ids of the blocks of `block_size` tokens that prompt and output of each request fill."""
        counts = (prompt_tokens + output_tokens) // block_size
        starts, request, place = _spread(counts)
        common = self.shared_tokens // block_size
        group_start = _starts(self.group, common)
        text_start = _starts(self.text, np.maximum(counts - common, 0)) + int(group_start.max(initial=0))
        of_group = place < common[request]
        group_at = group_start[np.maximum(self.group, 0)][request]
        text_at = text_start[self.text][request] - common[request]
        return Content(np.where(of_group, group_at, text_at) + place, starts, block_size)


def _spread(counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Returns starts[n + 1] of runs of so many items, and for each item its run and its place in it."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    run = np.repeat(np.arange(len(counts)), counts)
    return starts, run, np.arange(len(run)) - starts[run]


def _starts(key: Ints, needed: Ints) -> Ints:
    """Returns where the numbers of each key begin when each gets as many as the neediest of its requests; the total last."""
    most = np.zeros(int(key.max(initial=-1)) + 1, np.int64)
    held = key >= 0
    np.maximum.at(most, key[held], needed[held])
    return np.concatenate([[0], np.cumsum(most)]).astype(np.int64)
