"""CUDA graphs: which iterations are replayed, to what size they are padded, and what the host spends on launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator.optime.operators import Ints
from simulator.optime.provenance import Origin
from simulator.spec.deployment import GraphMode, Resolved
from simulator.spec.engine import EngineProfile, Overheads
from simulator.spec.model import Model

Launch = Literal["eager", "piecewise", "full"]

# By kind of iteration: decode only, prefill only, mixed.
LAUNCHES: dict[GraphMode, tuple[Launch, Launch, Launch]] = {
    "NONE": ("eager", "eager", "eager"),
    "PIECEWISE": ("piecewise", "piecewise", "piecewise"),
    "FULL_DECODE_ONLY": ("full", "eager", "eager"),
    "FULL_AND_PIECEWISE": ("full", "piecewise", "piecewise"),
}
# A piecewise graph ends before each layer's attention: the KV write and the attention kernel are launched by themselves.
ATTENTION_KERNELS = 2


@dataclass(frozen=True)
class HostTimes:
    """Seconds by kind of iteration that the GPU's work may hide (`floor_s`), and that it cannot (`extra_s`)."""

    floor_s: tuple[float, ...]
    extra_s: tuple[float, ...]
    origins: dict[str, Origin]


def padded(tokens: Ints, sizes: Ints) -> Ints:
    """Returns the next captured size at or above tokens[n]; beyond the largest one, and without any, the tokens."""
    if len(sizes) == 0:
        return tokens
    position = np.searchsorted(sizes, tokens)
    return np.where(position < len(sizes), sizes[np.minimum(position, len(sizes) - 1)], tokens)


def host_times(deployment: Resolved, model: Model, engine: EngineProfile) -> HostTimes:
    """Returns the host's part of an iteration; a figure that the engine profile lacks is zero and its origin `absent`.

    Without graphs the GPU waits for as many launches as there are kernels (Ghosh et al., "PyGraph", arXiv 2503.19779).
    The engine's own step runs beside the GPU under asynchronous scheduling, and before it otherwise.
    """
    overheads = engine.overheads
    launches = LAUNCHES[deployment.cudagraph_mode]
    known = {launch: _launch_s(launch, overheads, model.num_hidden_layers) for launch in launches}
    step = overheads.host_step_s
    origins = {f"{launch}_launch": _origin(engine, seconds) for launch, seconds in known.items()}
    origins["host_step"] = _origin(engine, step)
    launch_s = [known[launch] or 0.0 for launch in launches]
    if deployment.async_scheduling:
        return HostTimes(tuple(max(seconds, step or 0.0) for seconds in launch_s), (0.0,) * len(launches), origins)
    return HostTimes(tuple(launch_s), (step or 0.0,) * len(launches), origins)


def _launch_s(launch: Launch, overheads: Overheads, layers: int) -> float | None:
    graph, kernel, kernels = overheads.graph_launch_s, overheads.kernel_launch_s, overheads.kernels_per_layer
    if launch == "full":
        return graph
    if launch == "eager":
        return None if kernel is None or kernels is None else layers * kernels * kernel
    return None if graph is None or kernel is None else (layers + 1) * graph + layers * ATTENTION_KERNELS * kernel


def _origin(engine: EngineProfile, seconds: float | None) -> Origin:
    if seconds is None:
        return Origin.absent()
    return Origin(source="engine profile", kind="measured", versions={engine.engine: engine.version})
