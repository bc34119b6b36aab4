"""How a step is launched, one way a file: kernel by kernel (`off`), or as CUDA graphs that were captured for some sizes.

A way is one function `prepare(model, pool, scratch, most_bytes)`. It returns `compute(batch)`, which writes the KV of the
batch's rows into the pool and returns the logits of the rows that sample, as `model(batch, pool)` does; `scratch` is a slot
that belongs to nobody, `most_bytes` what graphs may hold. It raises InputError where the model or the device cannot be
launched so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import Tensor

from profiler.engine.batch import Batch
from profiler.engine.model import Model
from simulator.errors import unknown_name

Compute = Callable[[Batch], Tensor]
Graphs = Callable[[Model, Tensor, int, int | None], Compute]


def names() -> tuple[str, ...]:
    """Returns the names of all ways."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


def graphs(name: str, field: str = "graphs") -> Graphs:
    """Returns the way called `name`; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Graphs, importlib.import_module(f"{__name__}.{name}").prepare)
