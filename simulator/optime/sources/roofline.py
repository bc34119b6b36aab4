"""Roofline: the ideal time of an operator on a device's data sheet, for whatever nobody has measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator.optime.bound import bound
from simulator.optime.operators import Ints, Operator
from simulator.optime.provenance import ROOFLINE, Priced
from simulator.optime.sources import Context
from simulator.spec.base import Spec
from simulator.spec.device import Device

DEFAULT_RANK = 90


class Settings(Spec):
    """Nothing to set."""

    source: Literal["roofline"] = "roofline"


@dataclass(frozen=True, eq=False)
class Roofline:
    """Lower bounds of one device, without any allowance for efficiency, latency or launches."""

    device: Device

    def price(self, operator: Operator) -> Priced | None:
        """Returns the bound of every point, or None when the device states no rate for the operator."""
        seconds = bound(operator, self.device)
        return None if seconds is None else Priced.of(seconds, ROOFLINE)

    def versions(self, operator: Operator) -> Mapping[str, str]:
        """Returns nothing: a data sheet has no software version."""
        return {}

    def token_knots(self) -> Ints:
        """Returns nothing: the bound is defined everywhere."""
        return np.empty(0, dtype=np.int64)


def available(context: Context) -> bool:
    """Returns True: every device has a data sheet."""
    return True


def open_source(settings: Settings, context: Context, field: str) -> Roofline:
    """Returns the bounds of the deployment's device."""
    return Roofline(context.device)
