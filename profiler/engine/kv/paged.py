"""Paged KV: any block may follow any other one, by the block table of the simulator's own prefix cache."""

from __future__ import annotations

from torch import Tensor

from profiler.engine.driver import Driver, Ints, Served
from profiler.engine.model import Model
from simulator.kernel.engine import Limits


def check(limits: Limits) -> None:
    """Returns: all limits can be kept."""


def total(limits: Limits) -> int:
    """Returns as many blocks as requests share."""
    return limits.kv_blocks


def reserve(model: Model, slots: int) -> Tensor:
    """Returns the pool in one piece."""
    return model.pool(slots)


def blocks(driver: Driver, served: Served, count: int) -> Ints:
    """Returns the request's row of the block table."""
    return driver.table(served)[:count]
