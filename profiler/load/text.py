"""Prompts as texts, for servers that take no token ids: words, as many as the server's own counts call for."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from simulator.errors import InputError
from simulator.traffic import Traffic

# Short and common, so that most tokenizers have a token for each.
# fmt: off
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family",
    "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system", "program",
    "question", "work", "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story", "fact",
)
# fmt: on
# Two lengths tell what a word costs and what stands around the prompt.
PROBES = (32, 288)


class Spoken:
    """The prompts of a traffic as words; a server counts about `per_word` tokens a word, and `around` for what it adds."""

    def __init__(self, traffic: Traffic, per_word: float, around: float, seed: int) -> None:
        self.traffic, self.per_word, self.around, self.seed = traffic, per_word, around, seed

    @classmethod
    async def calibrated(cls, traffic: Traffic, counted: Callable[[str], Awaitable[int]], seed: int) -> Spoken:
        """Returns prompts as long as the server that `counted` asks counts them; raises InputError when counts do not grow."""
        few, many = PROBES
        low, high = [await counted(words(count, f"probe {seed} {count}")) for count in PROBES]
        if high <= low:
            raise InputError("--prompt", "text", "a server that counts more tokens for more words")
        per_word = (high - low) / (many - few)
        return cls(traffic, per_word, low - per_word * few, seed)

    def tokens(self, request: int) -> str:
        """Returns the prompt of one request, about as long as its prompt_tokens and a word at the least."""
        wanted = float(self.traffic.prompt_tokens[request])
        count = max(round((wanted - self.around) / self.per_word), 1)
        return words(count, f"{self.seed} {request}")


def words(count: int, seed: str) -> str:
    """Returns so many words, the same ones for the same seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=count))
