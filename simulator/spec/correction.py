"""Correction: factors on the simulator's times that measured runs of other deployments gave."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from simulator.spec.base import Spec

OperatorClass = Literal["attention", "rest", "host"]


class Correction(Spec):
    """Seconds of each class of operators are multiplied by its factor.

    `attention` is what grows with KV, `rest` every other kernel, `host` what the host adds. `spread` is the standard error of
    each factor's logarithm. `left_out` is the median error of deployments that the factors were not fitted to, by metric.
    """

    name: str
    attention: PositiveFloat = 1.0
    rest: PositiveFloat = 1.0
    host: PositiveFloat = 1.0
    spread: dict[OperatorClass, float] = Field(default_factory=dict)
    left_out: dict[str, float] = Field(default_factory=dict)
    deployments: int = 0
