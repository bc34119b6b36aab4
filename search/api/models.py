"""The documents as OpenAPI shows them: what `search.documents` makes, described and not made again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from db.rows import StudyState

Deployment = dict[str, Any]


class Document(BaseModel):
    """A document: the fields that are named are always there, others may come."""

    model_config = ConfigDict(extra="allow")


class ObjectiveNamed(Document):
    """An objective, which way is better, and its unit."""

    name: str
    direction: Literal["minimize", "maximize"]
    unit: str


class Submitted(Document):
    """A study that was taken in."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"id": "s-7f3a9c21", "state": "queued"}})

    id: str
    state: StudyState


class Study(Document):
    """What a study is: request in short, state, and its trials counted by state."""

    id: str
    name: str
    state: StudyState
    seed: int
    digest: str
    model: str | None
    slo: dict[str, float] | None
    demand: dict[str, float] | None
    prices: str | None
    objectives: list[ObjectiveNamed]
    trials: dict[str, int] | None = None


class StudyLine(Study):
    """A study in a list: with its times (UTC) and the first point of its frontier."""

    created_at: str
    started_at: str | None
    finished_at: str | None
    best: dict[str, Any] | None


class WholeStudy(StudyLine):
    """A study with its whole request, versions and summary."""

    request: dict[str, Any]
    versions: dict[str, Any]
    kernel_digest: str
    summary: dict[str, Any] | None


class Studies(Document):
    """A page of studies, newest first; `next_cursor` leads to the next page, null on the last one."""

    items: list[StudyLine]
    next_cursor: str | None


class Capacity(Document):
    """A capacity in requests a second with its interval."""

    value: float
    low: float | None
    high: float | None
    level: float | None


class Trial(Document):
    """All that is stored of a trial but its operating points; `curve` has Metrics by rate."""

    trial: int
    state: Literal["done", "infeasible", "failed"]
    reason: str | None
    deployment: Deployment
    capacity_rps: Capacity | None
    curve: list[dict[str, Any]]


class Trials(Document):
    """A page of trials by number."""

    items: list[Trial]
    next_cursor: str | None


class Point(Document):
    """One operating point: a deployment at a load, its metrics and objectives, how far they may be off, capacity and rent."""

    trial: int
    rank: int | None
    tied: bool
    deployment: Deployment
    rate_rps: float
    metrics: dict[str, Any]
    objectives: dict[str, float | None]
    capacity_rps: Capacity | None
    binding: str | None
    bill: dict[str, Any] | None


class Frontier(Document):
    """The frontier of a study, the document of `trimtab frontier --json`; items by rank."""

    study: Study
    items: list[Point]
    next_cursor: str | None


class Outside(Document):
    """A trial whose stored curve does not tell its place under these terms, and why."""

    trial: int
    deployment: Deployment
    reason: str


class Quote(Document):
    """The frontier under other terms, from stored curves; `outside` says what they do not reach."""

    study: Study
    slo: dict[str, float]
    objectives: list[ObjectiveNamed]
    items: list[Point]
    outside: list[Outside]
    notes: list[str]
    next_cursor: str | None


class Comparison(Document):
    """Two studies side by side."""

    studies: list[Study]
    changed: list[dict[str, Any]]
    objectives: list[dict[str, Any]]
    deployments: list[dict[str, Any]]


class Simulation(Document):
    """The document of `trimtab simulate --json`."""

    metrics: dict[str, Any]
    deployment: Deployment
    provenance: dict[str, Any]
    expected_error: dict[str, Any] | None


class CapacityFound(Document):
    """The document of `trimtab capacity --json`."""

    capacity_rps: Capacity
    binding: str
    curve: list[dict[str, Any]]
    deployment: Deployment
    provenance: dict[str, Any]


class Kinds(Document):
    """What the catalog holds."""

    items: list[str]


class CatalogNames(Document):
    """The names of one kind with a summary of each."""

    kind: str
    items: list[dict[str, Any]]


class CatalogEntry(Document):
    """One name of the catalog."""

    kind: str
    name: str
    summary: str


class Alive(Document):
    """That the process answers."""

    status: Literal["ok"] = "ok"


class Ready(Document):
    """Whether the service can take work, by part."""

    status: Literal["ok", "not ready"]
    parts: dict[str, str] = Field(description="`ok`, or what is wrong, by part.")


class Planned(Document):
    """A plan: the demand by hour, deployments by what their cheapest way to rent costs, the best, and what a budget buys."""

    request: dict[str, Any]
    slo: dict[str, float]
    prices: str
    demand: dict[str, Any]
    candidates: list[dict[str, Any]]
    best: dict[str, Any] | None
    budget: dict[str, Any] | None
    notes: list[str]


class Validated(Document):
    """A deployment on a real engine at a share of its claimed capacity: `errors` are (simulated - measured) / measured."""

    trial: int
    load: float
    rate_rps: float
    engine: str
    device: str
    state: str
    fault: dict[str, Any] | None
    errors: dict[str, Any] | None
    measured: dict[str, Any] | None
    simulated: dict[str, Any] | None
    lag: dict[str, Any] | None


class ValidatedLine(Validated):
    """A validation in a list of those of all studies."""

    id: int
    study: str
    name: str
    finished_at: str
    versions: dict[str, Any]


class Validations(Document):
    """A page of validations, newest first."""

    items: list[ValidatedLine]
    next_cursor: str | None


class Agreement(Document):
    """How the order of deployments agrees at a load, and by how much our pick is worse than the measured best."""

    load: float
    metric: str
    deployments: int
    spearman: float | None
    kendall: float | None
    regret: float | None


class StudyValidations(Document):
    """The validations of a study, and how the orders agree."""

    study: str
    items: list[Validated]
    agreement: list[Agreement]


class CorrectionLine(Document):
    """A correction: factors of the simulator's seconds by operator class."""

    name: str
    device: str
    engine: str
    factors: dict[str, Any]
    error: dict[str, Any]
    training: list[dict[str, Any]]
    created_at: str


class Corrections(Document):
    """All corrections by name."""

    items: list[CorrectionLine]
