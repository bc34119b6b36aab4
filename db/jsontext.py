"""JSON as it is stored: sorted keys, no spaces, finite numbers only, so that equal values are equal text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from simulator.errors import StoreError


def dumps(value: object) -> str:
    """Returns the one JSON text of `value`; raises ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_storable(value: object, where: str) -> None:
    """Raises StoreError, with the path under `where`, for what comes back changed from JSON or not at all."""
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise StoreError(f"{where} cannot be stored: {value} is not a finite number")
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise StoreError(f"{where} cannot be stored: its key {key!r} is not text")
                check_storable(item, f"{where}.{key}")
        case list() | tuple():
            for position, item in enumerate(value):
                check_storable(item, f"{where}[{position}]")
        case _:
            raise StoreError(f"{where} cannot be stored: {type(value).__name__} is not a JSON type")
