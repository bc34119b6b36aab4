"""Random choices of a router: xorshift of 32 bits (Marsaglia 2003, shifts 13, 17, 5), in the router's own memory.

Its arithmetic stays within int64, so that compiled and interpreted code draw the same numbers.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner

SEED, STREAM = 0, 1
MASK = 0xFFFFFFFF
# Neighbouring seeds differ in few bits; so many rounds spread the difference over all of them.
ROUNDS_BEFORE_THE_FIRST = 32


@inner
def draw(state: Any, count: int) -> int:
    """Returns a number from 0 to `count` - 1, all equally likely but for less than `count` in 2^32."""
    if state[STREAM] == 0:
        seed = (state[SEED] ^ (state[SEED] >> 32) ^ 0x9E3779B9) & MASK
        # Zero is the one number from which xorshift never moves.
        state[STREAM] = seed if seed > 0 else MASK
        for _ in range(ROUNDS_BEFORE_THE_FIRST):
            state[STREAM] = stirred(state[STREAM])
    state[STREAM] = stirred(state[STREAM])
    return int((state[STREAM] * count) >> 32)


@inner
def stirred(number: int) -> int:
    """Returns the number that follows in the stream."""
    number ^= (number << 13) & MASK
    number ^= number >> 17
    number ^= (number << 5) & MASK
    return number
