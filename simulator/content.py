"""Content: which blocks of tokens the requests of a run have in common, as numbers of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Content:
    """The blocks of `block_tokens` tokens that the prompt and output of each request fill.

    ids[starts[i]:starts[i + 1]] are those of request i in order: equal ids are equal tokens after equal tokens.
    ids int64[m] are 0 or more, starts int64[n + 1].
    """

    ids: Ints
    starts: Ints
    block_tokens: int

    def __len__(self) -> int:
        """Returns n, the requests."""
        return len(self.starts) - 1

    def of(self, request: int) -> Ints:
        """Returns the ids of one request, int64[its full blocks]."""
        return self.ids[self.starts[request] : self.starts[request + 1]]
