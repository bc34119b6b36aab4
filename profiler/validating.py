"""One deployment brought up once and compared at several loads; what goes wrong is kept and nothing is left running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from profiler.load.engines import Launch, engine
from profiler.load.generate import Options
from profiler.load.target import Target
from profiler.validate import Compared, compare
from simulator.errors import Unmeasured
from simulator.run import Prepared
from simulator.traffic import Traffic


@dataclass(frozen=True)
class Fault:
    """Why there is no comparison: a kind that is stored, and one line."""

    kind: str
    reason: str

    @classmethod
    def of(cls, error: Unmeasured) -> Fault:
        """Returns what is kept of an error."""
        return cls(str(getattr(error, "kind", "unmeasured")), str(error))


@dataclass(frozen=True)
class Load:
    """A share of the claimed capacity, and the requests a second that it came to; None: the traffic's own clock."""

    share: float
    rate_rps: float | None


@dataclass(frozen=True)
class Run:
    """One load on one deployment: what was compared, or why not, and when."""

    load: Load
    found: Compared | Fault
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class Job:
    """A deployment ready to be simulated, its requests and loads, and the server: an engine by name and how it is launched."""

    prepared: Prepared
    traffic: Traffic
    loads: Sequence[Load]
    engine: str
    launch: Launch
    options: Options = field(default_factory=Options)


def _untold(run: Run) -> None:
    """Tells nobody."""


def measure(job: Job, tell: Callable[[Run], None] = _untold) -> list[Run]:
    """Returns one run a load, each told as soon as it is over; a server that fails fails the loads that are left as well."""
    runs: list[Run] = []
    begun = datetime.now(UTC)

    def done(load: Load, found: Compared | Fault) -> None:
        nonlocal begun
        runs.append(Run(load, found, begun, datetime.now(UTC)))
        tell(runs[-1])
        begun = datetime.now(UTC)

    try:
        with engine(job.engine).serve(job.launch) as served:
            for load in job.loads:
                done(load, _compared(job, load, served))
                ended = served.fault()
                if ended is not None:
                    raise ended
    except Unmeasured as error:
        for load in job.loads[len(runs) :]:
            done(load, Fault.of(error))
    return runs


def _compared(job: Job, load: Load, target: Target) -> Compared | Fault:
    try:
        return compare(job.prepared, job.traffic, load.rate_rps, target, job.options)
    except Unmeasured as error:
        return Fault.of(error)
