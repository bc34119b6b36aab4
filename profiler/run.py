"""`trimtab profile run`: from what was typed to a profile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from profiler import host
from profiler.campaign import Campaign, Target
from profiler.group import check as check_group
from profiler.log import Log
from profiler.machine import DTYPES, Machine
from profiler.ops import attention
from profiler.subject import Subject
from profiler.subjects import Limits, subjects_of
from profiler.take import Taker
from simulator import catalog
from simulator.errors import InputError, unknown_name
from simulator.optime import profile
from simulator.optime.families import Shard
from simulator.optime.operators import Collective
from simulator.spec.device import Dtype


@dataclass(frozen=True)
class Request:
    """What to measure, for how long, and where to write it."""

    model: str
    device: str
    tensor_parallel_sizes: Sequence[int] = (1,)
    dtype: str = "bfloat16"
    budget_s: float = 480.0
    out: Path | None = None
    name: str | None = None
    limits: Limits = field(default_factory=Limits)
    attention_backend: str = attention.AUTO
    operators: Sequence[str] = ()
    collectives: bool = True

    @property
    def profile_name(self) -> str:
        """What the profile is called: by default after the model and the data type."""
        return self.name or f"torch-{self.model.split('/')[-1]}-{self.dtype}"


@dataclass(frozen=True)
class Done:
    """What a run leaves: the file, its points and how many earlier runs had, what was not measured, and what the host spends."""

    path: Path
    points: int
    points_before: int
    too_dear: int
    finished: bool
    left_out: Sequence[str]
    overheads: dict[str, float]


def run(request: Request) -> Done:
    """Returns what was measured; raises InputError for what cannot be asked, before anything is measured."""
    device = catalog.device(request.device, "--device")
    subjects, left_out = wanted(request)
    machine = Machine.of(device, request.device)
    backend = attention.choose(machine, request.attention_backend)
    for subject in subjects:
        if isinstance(subject.operator, Collective):
            check_group(machine.kind, subject.operator.gpus)
    about = machine.about()
    path = (request.out or profile.user_folder()) / request.device / f"{request.profile_name}.parquet"
    told = {"name": request.profile_name, "source": f"trimtab profile run ({backend})", "model": request.model, **about}
    overheads = host.measured(machine)
    told |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), **machine.state(), "overheads": overheads}
    target = Target(path, request.device, device, told)
    log = _log(target, {**about, "device": request.device, "attention": backend})
    taker = Taker(machine)
    campaign = Campaign(target, subjects, taker, log, request.budget_s, err=sys.stderr)
    try:
        points = campaign.run()
    finally:
        taker.close()
    counts = (points, campaign.points_before, campaign.too_dear, campaign.finished)
    return Done(path, *counts, left_out, overheads)


def wanted(request: Request) -> tuple[list[Subject], list[str]]:
    """Returns the subjects of a request and the operators that are not measured; raises InputError for unknown names."""
    model = catalog.model(request.model, "--model")
    if request.dtype not in DTYPES:
        raise unknown_name("--dtype", request.dtype, DTYPES)
    dtype: Dtype = request.dtype  # type: ignore[assignment]
    limits = Limits(request.limits.tokens, request.limits.sequences, min(request.limits.length, model.max_position_embeddings))
    try:
        subjects, left_out = subjects_of([Shard(model, size, dtype) for size in request.tensor_parallel_sizes], limits)
    except InputError as error:
        raise InputError("--tensor-parallel-size", error.value, error.allowed) from None
    if not request.collectives:
        left_out += sorted({each.operator.name for each in subjects if isinstance(each.operator, Collective)})
        subjects = [each for each in subjects if not isinstance(each.operator, Collective)]
    kinds = sorted({each.kind for each in subjects})
    for kind in request.operators:
        if kind not in kinds:
            raise unknown_name("--operators", kind, kinds)
    return [each for each in subjects if not request.operators or each.kind in request.operators], left_out


def _log(target: Target, conditions: dict[str, object]) -> Log:
    try:
        return Log(target.log_path, conditions)
    except OSError as error:
        raise InputError("--out", str(target.path.parent), f"a folder that can be written ({error.strerror})") from None
