"""What people read of two studies side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search.layout import Column, show
from search.table import Lines, deployment_parts
from simulator.cli import digits

if TYPE_CHECKING:
    from rich.console import Console

Document = Mapping[str, Any]
SHOWN = 12
NONE = "-"


def show_comparison(console: Console, found: Document) -> None:
    """Prints what two requests differ in, the best of each objective, and the deployments of both frontiers."""
    say = Lines(console)
    names = [f"{study['name']} ({study['id']})" for study in found["studies"]]
    say(f"{names[0]} beside {names[1]}")
    say("")
    if found["changed"]:
        _changes(console, found["changed"])
    else:
        say("both asked the same")
    say("")
    _objectives(console, found["objectives"])
    say("")
    _deployments(console, found["deployments"][:SHOWN], [objective["name"] for objective in found["objectives"]])
    if len(found["deployments"]) > SHOWN:
        say(f"and {len(found['deployments']) - SHOWN} more: --json has all")


def _changes(console: Console, changes: Sequence[Document]) -> None:
    texts = [[_text(change["values"][side]) for change in changes] for side in (0, 1)]
    show(
        console,
        [
            Column("asked differently", [change["field"] for change in changes], justify="left"),
            Column("in the first", texts[0], justify="left"),
            Column("in the other", texts[1], justify="left"),
        ],
    )


def _text(value: object) -> str:
    return NONE if value is None else value if isinstance(value, str) else json.dumps(value)


def _objectives(console: Console, objectives: Sequence[Document]) -> None:
    show(
        console,
        [
            Column("best", [objective["name"] for objective in objectives], justify="left"),
            Column("unit", [objective["unit"] for objective in objectives], weight=2, justify="left"),
            Column("first", [_best(objective["best"][0]) for objective in objectives]),
            Column("other", [_best(objective["best"][1]) for objective in objectives]),
            Column("change", [_change(objective["change"]) for objective in objectives]),
            Column("better", [_better(objective) for objective in objectives], weight=1, justify="left"),
        ],
    )


def _best(best: Document | None) -> str:
    return NONE if best is None else digits(best["value"])


def _change(change: float | None) -> str:
    return NONE if change is None else f"{change:+.1%}"


def _better(objective: Document) -> str:
    change = objective["change"]
    if change is None:
        return NONE
    if change == 0:
        return "neither"
    return "the other" if (change < 0) == (objective["direction"] == "minimize") else "the first"


def _deployments(console: Console, deployments: Sequence[Document], objectives: Sequence[str]) -> None:
    if not deployments:
        Lines(console)("neither has a frontier")
        return
    first = objectives[0]
    show(
        console,
        [
            Column("deployment", [" ".join(deployment_parts(each["deployment"])) for each in deployments], justify="left"),
            Column("rank, first", [_rank(each["places"][0]) for each in deployments]),
            Column("other", [_rank(each["places"][1]) for each in deployments]),
            Column(f"{first}, first", [_value(each["places"][0], first) for each in deployments], weight=1),
            Column("other", [_value(each["places"][1], first) for each in deployments], weight=1),
        ],
    )


def _rank(place: Document | None) -> str:
    return NONE if place is None else str(place["rank"])


def _value(place: Document | None, objective: str) -> str:
    return NONE if place is None else digits(place["objectives"].get(objective))
