"""Launching: from a resolved Deployment to the command line of an engine. One engine a file, one contract.

A file renders for the one version of its engine that its engine profile states (`PROFILE`, None for our own engine, which
runs what any profile resolves to). `arguments` is the command of **one replica**; it reads the deployment and nothing else:
no environment, no GPU, no file but the catalog, except that a model that is a folder is served from it. Every knob of
Resolved is one of these:

- *rendered* by the file, even at the engine's own default, so that a new version's other default changes nothing;
- *refused* by the file: InputError, with the knob as its field and what can be rendered. A knob is never left out in silence,
  and never rendered as something near it;
- NAMED by the caller's own arguments: the weights to load may lie elsewhere than where the catalog's name points;
- PLACED by whoever runs the command: on which machine, how many times, behind which router;
- ASSUMED: what the simulator supposes of the traffic and of the server, where there is nothing to set; or what follows from
  another knob (a page, from block_size).

`parse` is the inverse: it returns the knobs that a command line states, equal to those that it was rendered from. A variable
of the environment that a knob needs stands in front, as `env NAME=VALUE PROGRAM ...`, so that the command is complete.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from simulator.errors import unknown_name
from simulator.spec.deployment import Resolved

NAMED = ("model",)
PLACED = ("device", "replicas", "router")
ASSUMED = (
    "expert_load",
    "kv_page_bytes",
    "deterministic_share",
    "api_server_s_per_request",
    "api_server_s_per_prompt_token",
    "detokenize_s_per_token",
)


class Launcher(Protocol):
    """What the file of an engine provides: PROFILE, and the two functions."""

    PROFILE: str | None

    def arguments(
        self,
        deployment: Resolved,
        model: str,
        port: int,
        *,
        name: str | None = None,
        host: str = "127.0.0.1",
        more: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Returns the command that serves the weights `model` (a folder or a name) as `name`, by default the deployment's model.

        `more` is put at its end as it stands. Raises InputError for a knob that this engine cannot be told.
        """

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Returns the knobs that a command line states; raises InputError for one that is not this engine's."""


def launcher(name: str, field: str = "engine") -> Launcher:
    """Returns the launcher of the engine of that name; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Launcher, importlib.import_module(f"{__name__}.{name}"))


def names() -> tuple[str, ...]:
    """Returns the sorted names of all launchers."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))
