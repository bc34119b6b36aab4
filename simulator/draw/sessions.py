"""Sessions: how the prompt grows from turn to turn, and where the history is dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Turns:
    """The turns of the sessions of one class, side by side: turn[n] from 0; new_tokens[n], in turn 0 the whole prompt.

    dropped[n] marks turns that begin without the history for another reason than their length.
    """

    turn: Ints
    new_tokens: Ints
    output_tokens: Ints
    dropped: Flags

    def grown(self, max_context_tokens: int | None) -> tuple[Ints, Ints, Flags]:
        """Returns prompt and output tokens of each turn, and which turns begin a text of their own.

        Prompt and output stay within `max_context_tokens` together.
        """
        most = np.iinfo(np.int64).max // 4 if max_context_tokens is None else max_context_tokens
        output = np.minimum(self.output_tokens, most - 1)
        prompt = np.minimum(self.new_tokens, most - output)
        begins = (self.turn == 0) | self.dropped
        first = prompt[np.maximum.accumulate(np.where(self.turn == 0, np.arange(len(self.turn)), 0))]
        order = np.argsort(self.turn, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self.turn[order])) + 1)[1:]:
            new, history = self.new_tokens[rows], prompt[rows - 1] + output[rows - 1]
            begins[rows] |= history + new + output[rows] > most
            prompt[rows] = np.where(begins[rows], np.minimum(first[rows] + new, most - output[rows]), history + new)
        return prompt, output, begins
