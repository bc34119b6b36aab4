"""Platforms: what runs an engine's command as often as a deployment says. One platform a file, one contract.

A file renders the documents that its platform takes, from a resolved Deployment and the command of one replica
(`deploy.launch`); it reads no cluster and no network. `parse` is the inverse: the commands and numbers of replicas that its
documents state. What a platform cannot place (a replica over several machines, engines of another kind) is refused by name.

Engines that share their work, some reading prompts and some generating, are two deployments: the one that generates is placed,
and `Placed.prefill` is the other. Platforms that cannot hand KV from one to the other refuse it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from simulator.errors import unknown_name
from simulator.spec.deployment import Resolved

ALL, DECODE, PREFILL = "all", "decode", "prefill"


@dataclass(frozen=True)
class Pool:
    """Replicas that are alike: their deployment and the command of one of them."""

    deployment: Resolved
    command: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """What is to be placed: the name, the command of one replica and its port, the image that has the engine, labels of nodes,
    replicas by hour of the week (168, from Monday 00:00 UTC) where they follow the clock and how long before an hour they are
    to be started, who reads the prompts where that is not done by the replicas themselves, and the folder with the weights
    where they are not fetched.
    """

    name: str
    command: tuple[str, ...]
    port: int
    image: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    replicas_by_hour: tuple[int, ...] | None = None
    start_up_s: float = 0.0
    prefill: Pool | None = None
    weights: str | None = None


# By what its replicas do (ALL, or DECODE and PREFILL): the command of a replica, and how many there are, at most.
Running = dict[str, tuple[tuple[str, ...], int]]


class Platform(Protocol):
    """What the file of a platform provides: FILE, the name of what it writes; ENGINES, those that it can run; IMAGES, the one
    that has an engine where one is published for the platform, None where nodes have the engine already; and the two functions.
    """

    FILE: str
    ENGINES: tuple[str, ...]
    IMAGES: Mapping[str, str] | None

    def documents(self, deployment: Resolved, placed: Placed) -> list[dict[str, Any]]:
        """Returns the YAML documents; raises InputError for a knob or a placement that this platform cannot be told."""

    def parse(self, documents: Sequence[Mapping[str, Any]]) -> Running:
        """Returns what the documents run."""


def platform(name: str, field: str = "platform") -> Platform:
    """Returns the platform of that name; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Platform, importlib.import_module(f"{__name__}.{name}"))


def names() -> tuple[str, ...]:
    """Returns the sorted names of all platforms."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))
