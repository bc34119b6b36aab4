"""CUDA graphs: which iterations are replayed, to what size they are padded, and what the host spends on launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator.optime.hoststep import HostStep, host_step
from simulator.optime.operators import Floats, Ints
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
    "SELECTIVE": ("full", "piecewise", "piecewise"),
}


@dataclass(frozen=True)
class HostTimes:
    """Seconds by kind of iteration that the GPU's work may hide (`floor_s`), and that it cannot (`extra_s`).

    `sequence_s` is what each sequence adds to the latter; `own` was measured of our own engine, by the number of sequences.
    """

    floor_s: tuple[float, ...]
    extra_s: tuple[float, ...]
    sequence_s: float
    origins: dict[str, Origin]
    own: HostStep | None = None

    def sequences_s(self, last: int) -> Floats:
        """Returns what so many sequences add, [last + 1]."""
        linear: Floats = self.sequence_s * np.arange(last + 1, dtype=np.float64)
        return linear if self.own is None else linear + self.own.of_sequences(last)


def padded(tokens: Ints, sizes: Ints) -> Ints:
    """Returns the next captured size at or above tokens[n]; beyond the largest one, and without any, the tokens."""
    if len(sizes) == 0:
        return tokens
    position = np.searchsorted(sizes, tokens)
    return np.where(position < len(sizes), sizes[np.minimum(position, len(sizes) - 1)], tokens)


def host_times(deployment: Resolved, model: Model, engine: EngineProfile) -> HostTimes:
    """Returns the host's part of an iteration; a figure that the engine profile lacks is zero and its origin `absent`.

    The GPU waits until its kernels are launched (Ghosh et al., "PyGraph", arXiv 2503.19779). Under asynchronous scheduling the
    host prepares the next step and launches it while the GPU works; otherwise the step comes before the launch, and the GPU
    idles meanwhile. Of an engine whose profile has no step, the one that was measured with this model's operators is taken: it
    is what a step took beyond them, launches included.
    """
    own = host_step(deployment, engine.engine) if engine.overheads.host_step_s is None else None
    if own is not None:
        origin = Origin(source="own", kind="measured", versions={**own.versions, "date": own.date})
        return HostTimes((0.0,) * len(own.step_s), own.step_s, 0.0, {"host_step": origin}, own)
    overheads = engine.overheads
    launches = LAUNCHES[deployment.cudagraph_mode]
    known = {launch: _launch_s(launch, overheads, model.num_hidden_layers) for launch in launches}
    step, sequence = overheads.host_step_s, overheads.host_sequence_s
    origins = {f"{launch}_launch": _origin(engine, seconds) for launch, seconds in known.items()}
    origins["host_step"] = _origin(engine, step)
    launch_s = [known[launch] or 0.0 for launch in launches]
    if deployment.async_scheduling:
        return HostTimes(tuple(seconds + (step or 0.0) for seconds in launch_s), (0.0,) * len(launches), 0.0, origins)
    return HostTimes(tuple(launch_s), (step or 0.0,) * len(launches), sequence or 0.0, origins)


def _launch_s(launch: Launch, overheads: Overheads, layers: int) -> float | None:
    graph, piece = overheads.graph_launch_s, overheads.piecewise_layer_s
    if launch == "full":
        return graph
    if launch == "eager":
        return None if overheads.eager_layer_s is None else layers * overheads.eager_layer_s
    return None if graph is None or piece is None else graph + layers * piece


def eager_launch_s(model: Model, engine: EngineProfile) -> float:
    """Returns how long the host launches an iteration without graphs for; infinity where the profile does not know."""
    step = engine.overheads.host_step_s or 0.0
    seconds = _launch_s("eager", engine.overheads, model.num_hidden_layers)
    return float("inf") if seconds is None else seconds + step


def _origin(engine: EngineProfile, seconds: float | None) -> Origin:
    if seconds is None:
        return Origin.absent()
    return Origin(source="engine profile", kind="measured", versions={engine.engine: engine.version})
