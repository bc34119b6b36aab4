"""Traffic: the requests of one run, drawn from a Workload or read from a trace."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.content import Content, Texts
from simulator.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def _no_ints() -> Ints:
    return np.empty(0, np.int64)


def _no_floats() -> Floats:
    return np.empty(0)


def _no_flags() -> Flags:
    return np.empty(0, np.bool_)


@dataclass(frozen=True, eq=False)
class Traffic:
    """Requests on their own clock, whose mean rate is `rate_rps`; token counts are at least 1.

    arrival_s[n] seconds, not falling over the requests that follow no other, 0 for those that do.
    prompt_tokens[n], output_tokens[n]; priority[n]: the lower goes first.
    class_of[n] is a number into class_names. session[n] is the number of its session, -1 for none.
    after[n] is the request that it follows, always an earlier one, -1 for none; it arrives think_s[n] after that one's end.
    cancel_after_s[n] from its arrival an unfinished request is dropped, infinity for never: by its operator where
    expires[n], else by its user. row[n] is the number of its row in the trace, from 0, dropped rows counted.
    `content` says what prefixes the requests have in common; None where they have none. `users` is how many there are
    in a closed loop, which has no rate (rate_rps 0); 0 where requests arrive by themselves. `notes` says in words what
    was dropped, cut or resampled. Array fields that are not given stand for none of it.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    rate_rps: float
    notes: tuple[str, ...] = ()
    seed: int = 0
    class_of: Ints = field(default_factory=_no_ints)
    class_names: tuple[str, ...] = ("all",)
    session: Ints = field(default_factory=_no_ints)
    after: Ints = field(default_factory=_no_ints)
    think_s: Floats = field(default_factory=_no_floats)
    cancel_after_s: Floats = field(default_factory=_no_floats)
    expires: Flags = field(default_factory=_no_flags)
    row: Ints = field(default_factory=_no_ints)
    content: Content | Texts | None = None
    users: int = 0
    _blocks: dict[int, Content] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.arrival_s)
        defaults: dict[str, NDArray[Any]] = {
            "class_of": np.zeros(count, np.int64),
            "session": np.full(count, -1, np.int64),
            "after": np.full(count, -1, np.int64),
            "think_s": np.zeros(count),
            "cancel_after_s": np.full(count, np.inf),
            "expires": np.zeros(count, np.bool_),
            "row": np.arange(count, dtype=np.int64),
        }
        for name, default in defaults.items():
            if len(getattr(self, name)) != count:
                assert not len(getattr(self, name)), f"{name} has a value for each request or none"
                object.__setattr__(self, name, default)

    def __len__(self) -> int:
        return len(self.arrival_s)

    def at(self, rate_rps: float | None) -> Floats:
        """Returns arrival times in seconds at a mean rate; None keeps the own clock exactly. What follows another stays 0.

        Raises InputError for a rate in a closed loop, whose requests follow one another.
        """
        if rate_rps is None:
            return self.arrival_s
        if self.users:
            raise InputError("workload.rate_rps", rate_rps, "none with users, who send the next request when the last one is done")
        return self.arrival_s * (self.rate_rps / rate_rps)

    def between(self, first: int, last: int, start_s: float, span_s: float) -> Traffic:
        """Returns the requests from `first` to before `last` as traffic of `span_s` seconds that begins at `start_s`.

        What they follow must be among them: sessions of a trace do not follow one another, its clock being recorded.
        """
        rows = slice(first, last)
        arrays = (
            "prompt_tokens", "output_tokens", "priority", "class_of", "session", "think_s", "cancel_after_s", "expires", "row",
        )  # fmt: skip
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in arrays},
            arrival_s=self.arrival_s[rows] - start_s,
            after=np.where(self.after[rows] < 0, -1, self.after[rows] - first),
            content=None if self.content is None else self.content.between(first, last),
            rate_rps=(last - first) / span_s,
        )

    def content_for(self, block_size: int) -> Content | None:
        """Returns the blocks of `block_size` tokens of all requests; None where no two have any in common.

        Raises InputError for recorded blocks that are not of that size where they do not state their own.
        """
        if self.content is None:
            return None
        if block_size not in self._blocks:
            self._blocks[block_size] = self.content.blocks(self.prompt_tokens, self.output_tokens, block_size)
        return self._blocks[block_size]

    def with_users(self, users: int) -> Traffic:
        """Returns the same requests in the same order sent by so many users in a closed loop, each one session at a time.

        The k-th session, or request without one, follows the (k - users)-th; the first ones begin after their waits.
        """
        first, last = self._chains()
        after, arrival_s = self.after.copy(), np.zeros(len(self))
        after[first[users:]] = last[: max(len(last) - users, 0)]
        after[first[:users]] = -1
        arrival_s[first[:users]] = np.sort(self.think_s[first[:users]])
        return replace(self, arrival_s=arrival_s, after=after, users=users, rate_rps=0.0)

    def _chains(self) -> tuple[Ints, Ints]:
        """Returns the first and the last request of each session, a request without one being its own."""
        own = np.where(self.session < 0, np.arange(len(self)) + self.session.max(initial=0) + 1, self.session)
        first = np.unique(own, return_index=True)[1]
        last = len(self) - 1 - np.unique(own[::-1], return_index=True)[1]
        order = np.argsort(first)
        return first[order], last[order]
