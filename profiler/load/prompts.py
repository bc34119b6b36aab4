"""Prompts of exactly the wanted length, as token ids: requests with content in common begin with the same tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.traffic import Traffic

Ints = NDArray[np.int64]
# The first ids of a vocabulary are often special tokens.
FIRST_TOKEN = 3


class Prompts:
    """The prompts of a traffic, drawn from a seed; token ids from 3 to below `vocabulary`.

    Content is told in blocks of `block_size` tokens, which should be the server's own: its prefix cache then finds what
    the simulator's does. Outputs of earlier turns stand in a prompt as the workload has them, not as the server wrote them.
    """

    def __init__(self, traffic: Traffic, vocabulary: int, block_size: int = 16, seed: int = 0) -> None:
        self.traffic, self.vocabulary, self.block_size, self.seed = traffic, vocabulary, block_size, seed
        self._content = traffic.content_for(block_size)

    def tokens(self, request: int) -> list[int]:
        """Returns the prompt of one request, as long as its prompt_tokens."""
        length = int(self.traffic.prompt_tokens[request])
        places = np.arange(length, dtype=np.uint64)
        # Blocks of content have numbers from 0 on; what is a request's own comes from the other end.
        keys = np.full(length, np.uint64(2**63) + np.uint64(request), np.uint64)
        if self._content is not None:
            ids = self._content.of(request)[: length // self.block_size]
            keys[: len(ids) * self.block_size] = np.repeat(ids.astype(np.uint64), self.block_size)
            places[: len(ids) * self.block_size] %= np.uint64(self.block_size)
        first = min(FIRST_TOKEN, self.vocabulary - 1)
        drawn = _mixed(_mixed(keys ^ _mixed(np.array([self.seed], np.uint64))) + places)
        tokens: list[int] = (drawn % np.uint64(self.vocabulary - first) + np.uint64(first)).astype(np.int64).tolist()
        return tokens


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns a hash of every number: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
