"""Platforms: what runs an engine's command as often as a deployment says. One platform a file, one contract.

A file renders the documents that its platform takes, from a resolved Deployment and the command of one replica
(`deploy.launch`); it reads no cluster and no network. `parse` is the inverse: the command and the number of replicas that
its documents state. What a platform cannot place (a replica over several machines) is refused by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from simulator.errors import unknown_name
from simulator.spec.deployment import Resolved


@dataclass(frozen=True)
class Placed:
    """What is to be placed: the name, the command of one replica and its port, the image that has the engine, labels of nodes,
    and replicas by hour of the week (168, from Monday 00:00 UTC) where they follow the clock.
    """

    name: str
    command: tuple[str, ...]
    port: int
    image: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    replicas_by_hour: tuple[int, ...] | None = None


class Platform(Protocol):
    """What the file of a platform provides: FILE, the name of what it writes, and the two functions."""

    FILE: str

    def documents(self, deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
        """Returns the YAML documents; raises InputError for a knob or a placement that this platform cannot be told."""

    def parse(self, documents: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], int]:
        """Returns the command of a replica and how many there are (at most, where they follow the clock)."""


def platform(name: str, field: str = "platform") -> Platform:
    """Returns the platform of that name; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Platform, importlib.import_module(f"{__name__}.{name}"))


def names() -> tuple[str, ...]:
    """Returns the sorted names of all platforms."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))
