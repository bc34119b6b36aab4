"""Scenario: one deployment under one workload, as `trimtab simulate` and `trimtab capacity` read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from simulator import catalog, features
from simulator.errors import InputError
from simulator.spec.base import Spec, read_yaml
from simulator.spec.deployment import Deployment
from simulator.spec.prices import PriceBook
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

UPLOAD = "sha256:"
BOOK_SUFFIXES = (".yaml", ".yml")


class Scenario(Spec):
    """A deployment and its traffic, with what they are judged by: an Slo, a price book, the sources of operator times."""

    deployment: Deployment
    workload: Workload
    slo: Slo | None = None
    prices: str | None = None
    profiles: tuple[dict[str, Any], ...] | None = Field(default=None, min_length=1, strict=False)

    @model_validator(mode="after")
    def _slo_of_every_class(self) -> Self:
        # The classes' own bounds lie in the workload; whoever judges a run asks the Slo alone.
        self.__dict__["slo"] = self.workload.slo_with(self.slo)
        features.check_slo([self.deployment.determinism], self.slo or ())
        return self

    def price_book(self) -> PriceBook | None:
        """Returns the price book, or None when the scenario names none; raises InputError for an unknown one."""
        return None if self.prices is None else catalog.price_book(self.prices)


def read(path: Path) -> Scenario:
    """Returns the scenario in a YAML file, its paths absolute; raises InputError naming the first wrong field."""
    return Scenario.parse(anchored(read_yaml(path), path.parent))


def anchored(data: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Returns `data` with the paths of its trace, price book and profiles absolute: they are relative to `base`."""
    fields = dict(data)
    workload = fields.get("workload")
    if isinstance(workload, Mapping):
        trace = workload.get("trace")
        if isinstance(trace, str) and not trace.startswith(UPLOAD):
            fields["workload"] = {**workload, "trace": _absolute(trace, base)}
    prices = fields.get("prices")
    if isinstance(prices, str) and prices.endswith(BOOK_SUFFIXES):
        fields["prices"] = _absolute(prices, base)
    profiles = fields.get("profiles")
    if isinstance(profiles, list):
        fields["profiles"] = [_anchored_profile(profile, base) for profile in profiles]
    return fields


def content_hash(path: str, field: str) -> str:
    """Returns `sha256:` and the hash of a file's bytes; raises InputError under `field` when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return UPLOAD + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(field, path, f"a readable file ({error.strerror or error})") from None


def _anchored_profile(profile: object, base: Path) -> object:
    if isinstance(profile, Mapping) and isinstance(profile.get("path"), str):
        return {**profile, "path": _absolute(profile["path"], base)}
    return profile


def _absolute(path: str, base: Path) -> str:
    return str((base / Path(path).expanduser()).resolve())
