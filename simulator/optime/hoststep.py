"""Host step: what a step of our own engine takes beyond its operators, as `trimtab profile host` measured it.

A JSON file beside the profiles of a device, `NAME.host.json`: Python, launches, sampling, the hand-over to HTTP. It is one
of a model, a data type and a way of running (graphs, asynchronous scheduling), since all of these change it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from pydantic import Field

from simulator.errors import InputError
from simulator.optime.operators import Floats
from simulator.optime.profile import user_folder
from simulator.spec.base import Spec
from simulator.spec.deployment import Resolved

SUFFIX = ".host.json"


class HostStep(Spec):
    """Seconds beyond the operators: sequences_s[k] of a step of sequences[k] decodes, and what prompts add to a step.

    prefill_s is added to a step of prompts alone, mixed_s to one of both. `steps` were looked at.
    `left_s` is the median absolute difference between a step and what these figures and its operators say.
    """

    engine: str
    device: str
    model: str
    dtype: str
    tensor_parallel_size: int = 1
    cudagraph_mode: str = "NONE"
    async_scheduling: bool = False
    sequences: tuple[int, ...] = Field(strict=False)
    sequences_s: tuple[float, ...] = Field(strict=False)
    prefill_s: float
    mixed_s: float
    left_s: float
    steps: int
    versions: dict[str, str]
    date: str

    @property
    def step_s(self) -> tuple[float, float, float]:
        """The seconds by kind beyond those of as many decodes, in the order of a price list."""
        return 0.0, self.prefill_s, self.mixed_s

    def of_sequences(self, last: int) -> Floats:
        """Returns seconds[last + 1] by the sequences of a step, interpolated; none for a step without any."""
        return np.concatenate([[0.0], np.interp(np.arange(1, last + 1), self.sequences, self.sequences_s)])

    def is_of(self, deployment: Resolved, engine: str) -> bool:
        """Returns whether it was measured under a deployment's model and way of running."""
        names = ("device", "model", "dtype", "tensor_parallel_size", "cudagraph_mode", "async_scheduling")
        return self.engine == engine and all(getattr(self, name) == getattr(deployment, name) for name in names)


def host_step(deployment: Resolved, engine: str) -> HostStep | None:
    """Returns what was measured for the deployment; None where nothing was. Raises InputError for a file that is none."""
    for path in sorted((user_folder() / deployment.device).glob(f"*{SUFFIX}")):
        found = read(path)
        if found.is_of(deployment, engine):
            return found
    return None


def read(path: Path) -> HostStep:
    """Returns the host step in a file; raises InputError for another file."""
    try:
        return HostStep.parse(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise InputError("profiles", str(path), f"a host step that `trimtab profile host` wrote ({error})") from None


def write(path: Path, found: HostStep) -> None:
    """Writes a host step, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(found.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    part.replace(path)
