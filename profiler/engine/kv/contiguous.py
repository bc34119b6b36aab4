"""Contiguous KV, as before paging: every seat has room for max_model_len tokens in a row, used or not."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from profiler.engine.driver import Driver, Ints, Served
from profiler.engine.model import Model
from simulator.errors import InputError
from simulator.kernel.engine import Limits


def check(limits: Limits) -> None:
    """Raises InputError with a prefix cache, which would need one block in two places."""
    if limits.prefix_caching:
        raise InputError("enable_prefix_caching", True, "false with the contiguous KV allocator")


def total(limits: Limits) -> int:
    """Returns the blocks of all seats."""
    return limits.max_num_seqs * _blocks_of_a_seat(limits)


def reserve(model: Model, slots: int) -> Tensor:
    """Returns the pool; a host backs what was written, as an operating system does, a GPU all of it."""
    return model.pool(slots)


def blocks(driver: Driver, served: Served, count: int) -> Ints:
    """Returns the first blocks of the request's seat."""
    first = driver.seat(served) * _blocks_of_a_seat(driver.limits)
    return np.arange(first, first + count, dtype=np.int64)


def _blocks_of_a_seat(limits: Limits) -> int:
    return -(-limits.max_model_len // limits.block_size)
