"""The KV pool of the oracle: numbered blocks, a queue of the free ones, and what is in each.

As in vLLM 0.19.0: blocks are taken from the front of the queue, and those that nobody holds any more join its end. What
was in a free block can be found until the block is taken anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence


class Pool:
    """So many blocks, all of them free; without `caching` nothing is ever found."""

    def __init__(self, blocks: int, caching: bool) -> None:
        self.caching = caching
        self.queue: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self.holders = [0] * blocks
        self.content: dict[int, Hashable] = {}
        # Blocks by what is in them, in the order in which they were entered: the first one is found.
        self.where: dict[Hashable, OrderedDict[int, None]] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody holds, those included that still can be found."""
        return len(self.queue)

    def take(self) -> int:
        """Returns the block at the front of the queue; what was in it is lost."""
        block, _ = self.queue.popitem(last=False)
        if block in self.content:
            content = self.content.pop(block)
            del self.where[content][block]
            if not self.where[content]:
                del self.where[content]
        self.holders[block] = 1
        return block

    def hold(self, block: int) -> None:
        """Adds a holder to a block that was found."""
        if self.holders[block] == 0:
            del self.queue[block]
        self.holders[block] += 1

    def let_go(self, blocks: Sequence[int]) -> None:
        """Takes a holder from each block of a sequence, from its tail to its head."""
        for block in reversed(blocks):
            self.holders[block] -= 1
            if self.holders[block] == 0:
                self.queue[block] = None

    def enter(self, block: int, content: Hashable) -> None:
        """Makes a block findable by what is in it."""
        if self.caching and block not in self.content:
            self.content[block] = content
            self.where.setdefault(content, OrderedDict())[block] = None

    def find(self, contents: Sequence[Hashable]) -> list[int]:
        """Returns the blocks that hold the longest run of contents from the first."""
        found = []
        for content in contents:
            if content not in self.where:
                break
            found.append(next(iter(self.where[content])))
        return found

    def unheld(self, blocks: Sequence[int]) -> int:
        """Returns how many of the blocks nobody holds."""
        return sum(self.holders[block] == 0 for block in blocks)
