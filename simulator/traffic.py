"""Traffic: the requests of one run, drawn from a Workload or read from a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.content import Content

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def _absent(kind: type) -> Any:
    """Returns the default of an array field, which `Traffic` replaces by one value a request."""
    return field(default_factory=lambda: np.empty(0, kind))


@dataclass(frozen=True, eq=False)
class Traffic:
    """Requests on their own clock, whose mean rate is `rate_rps`; token counts are at least 1.

    arrival_s[n] seconds, not falling over the requests that follow no other, 0 for those that do.
    prompt_tokens[n], output_tokens[n]; priority[n]: the lower goes first.
    class_of[n] is a number into class_names. session[n] is the number of its session, -1 for none.
    after[n] is the request that it follows, always an earlier one, -1 for none; it arrives think_s[n] after that one's end.
    cancel_after_s[n] from its arrival an unfinished request is dropped, infinity for never: by its operator where
    expires[n], else by its user. row[n] is the number of its row in the trace, from 0, dropped rows counted.
    `content` says what prefixes the requests have in common; None where they have none. `notes` says in words what was
    dropped, cut or resampled. Array fields that are not given stand for none of it.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    rate_rps: float
    notes: tuple[str, ...] = ()
    class_of: Ints = _absent(np.int64)
    class_names: tuple[str, ...] = ("all",)
    session: Ints = _absent(np.int64)
    after: Ints = _absent(np.int64)
    think_s: Floats = _absent(np.float64)
    cancel_after_s: Floats = _absent(np.float64)
    expires: Flags = _absent(np.bool_)
    row: Ints = _absent(np.int64)
    content: Content | None = None

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
        """Returns arrival times in seconds at a mean rate; None keeps the own clock exactly. What follows another stays 0."""
        return self.arrival_s if rate_rps is None else self.arrival_s * (self.rate_rps / rate_rps)

    def content_for(self, block_size: int) -> Content | None:
        """Returns the blocks that the requests have in common in blocks of `block_size` tokens; None where they share none."""
        return self.content
