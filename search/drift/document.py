"""What a drift report says, as plain frozen dataclasses; `asdict` makes its JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A number of the study's traffic beside that of the trace; None where that side has none.

    `change` is relative (None for shares and distances), `by_chance` what sampling alone explains: of `change`, or of the
    difference of shares. `beyond` says whether the change is larger; None where there is nothing to compare with.
    """

    name: str
    group: str
    unit: str
    study: float | None
    trace: float | None
    change: float | None
    by_chance: float | None
    beyond: bool | None
