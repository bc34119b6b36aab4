"""Knobs as a command line sets them: KNOB=VALUE."""

from __future__ import annotations

from typing import Any

import yaml

from simulator.errors import InputError


def assigned(knobs: list[str]) -> dict[str, Any]:
    """Returns the knobs that were set, each read as YAML."""
    found: dict[str, Any] = {}
    for knob in knobs:
        name, equals, value = knob.partition("=")
        if not equals or not name:
            raise InputError("--set", knob, "KNOB=VALUE")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError("--set", knob, "KNOB=VALUE with a value in YAML") from None
    return found
