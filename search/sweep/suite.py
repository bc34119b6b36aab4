"""Suite: what a nightly sweep runs, with pinned seeds and tolerances, as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from search.fidelity import MINIMUM_REQUESTS
from search.request import SearchRequest
from simulator import catalog
from simulator.errors import InputError
from simulator.scenario import BOOK_SUFFIXES, Scenario, anchored
from simulator.spec.base import Spec, read_yaml

MOST_SEED = 2**31 - 1
# Where a case names a file, by the field that holds its content.
# All kinds of cases, in the order in which they run.
GROUPS = ("prices", "scenarios", "searches", "engines", "accuracy")
FILED = {"searches": "request", "scenarios": "scenario", "engines": "scenario"}
CaseName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Tolerances(Spec):
    """Relative changes that are no news, by what moved; `operators` of the mean of one operator's table."""

    capacity: NonNegativeFloat = 0.005
    latency: NonNegativeFloat = 0.01
    throughput: NonNegativeFloat = 0.005
    cost: NonNegativeFloat = 0.002
    memory: NonNegativeFloat = 0.0
    workload: NonNegativeFloat = 0.005
    operators: NonNegativeFloat = 0.005
    prices: NonNegativeFloat = 0.0
    engine: NonNegativeFloat = 0.15


class Pinned(Spec):
    """What every case has: a name that no other of the suite has, and tolerances where they are not the suite's."""

    name: CaseName
    tolerances: Tolerances | None = None


class SearchCase(Pinned):
    """A search: its winner, the winner's objectives, and the capacity of each deployment that it published."""

    request: SearchRequest
    seed: NonNegativeInt | None = Field(default=None, le=MOST_SEED)
    trials: PositiveInt | None = None


class ScenarioCase(Pinned):
    """A deployment under a workload: simulated once for each seed, or its capacity from the first one."""

    scenario: Scenario
    ask: Literal["simulate", "capacity"] = "simulate"
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0, 1, 2, 3), min_length=1, max_length=32, strict=False)

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds) or max(self.seeds) > MOST_SEED:
            raise InputError("seeds", list(self.seeds), f"seeds up to {MOST_SEED}, each once")
        if self.ask == "capacity":
            if self.scenario.slo is None:
                raise InputError("scenario.slo", None, "the bounds that a capacity keeps, such as {ttft_p99_s: 2.0}")
            count = self.scenario.workload.num_requests
            if count is not None and count < MINIMUM_REQUESTS:
                raise InputError("scenario.workload.num_requests", count, f"{MINIMUM_REQUESTS:,} or more")
        return self


class PricesCase(Pinned):
    """A price book of the catalog or in a file, compared price by price."""

    book: str

    @model_validator(mode="after")
    def _known(self) -> Self:
        catalog.price_book(self.book, field="book")
        return self


class AccuracyCase(Pinned):
    """Measured sets that the simulator is scored on; `data` is their folder, else TRIMTAB_DATA."""

    sets: tuple[str, ...] = Field(min_length=1, strict=False)
    data: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        for index, name in enumerate(self.sets):
            if name not in catalog.names("sets"):
                raise InputError(f"sets.{index}", name, ", ".join(catalog.names("sets")))
        return self


class EngineCase(Pinned):
    """A deployment on a real engine on this host, compared with the last run on the same host."""

    scenario: Scenario
    engine: Literal["torch", "vllm", "sglang"] = "torch"
    loads: tuple[PositiveFloat, ...] = Field(default=(0.5, 0.8), min_length=1, strict=False)
    requests: int = Field(default=300, ge=2)
    model_path: str | None = None


class Suite(Spec):
    """What is run every night; `baseline` is the name that it is compared with unless another is given."""

    name: CaseName
    baseline: CaseName = "main"
    tolerances: Tolerances = Tolerances()
    searches: tuple[SearchCase, ...] = Field(default=(), strict=False)
    scenarios: tuple[ScenarioCase, ...] = Field(default=(), strict=False)
    prices: tuple[PricesCase, ...] = Field(default=(), strict=False)
    engines: tuple[EngineCase, ...] = Field(default=(), strict=False)
    accuracy: tuple[AccuracyCase, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        seen: set[str] = set()
        for group in GROUPS:
            for place, case in enumerate(getattr(self, group)):
                if case.name in seen:
                    raise InputError(f"{group}.{place}.name", case.name, "a name that no other case of the suite has")
                seen.add(case.name)
        if not seen:
            raise InputError("suite", self.name, "at least one case: searches, scenarios, prices, engines or accuracy")
        return self

    def cases(self) -> Iterable[Pinned]:
        """Yields all cases in the order in which they run."""
        for group in GROUPS:
            yield from getattr(self, group)

    def tolerances_of(self, case: Pinned) -> Tolerances:
        """Returns the case's own tolerances, else the suite's."""
        return case.tolerances or self.tolerances


def read(path: Path) -> Suite:
    """Returns the suite in a YAML file; searches and scenarios may be files, relative to it.

    Raises InputError naming the first wrong field.
    """
    fields: dict[str, Any] = dict(read_yaml(path))
    for group, name in FILED.items():
        if isinstance(fields.get(group), list):
            fields[group] = [_opened(case, name, path.parent, f"{group}.{n}") for n, case in enumerate(fields[group])]
    if isinstance(fields.get("prices"), list):
        fields["prices"] = [_placed(case, "book", path.parent) for case in fields["prices"]]
    if isinstance(fields.get("accuracy"), list):
        fields["accuracy"] = [_placed(case, "data", path.parent) for case in fields["accuracy"]]
    return Suite.parse(fields)


def _opened(case: object, name: str, base: Path, field: str) -> object:
    """Returns the case with the content of the file that it names, all paths absolute."""
    if not isinstance(case, Mapping):
        return case
    stated = case.get(name)
    if isinstance(stated, str):
        file = base / stated
        return {**case, name: anchored(read_yaml(file, f"{field}.{name}"), file.parent)}
    return {**case, name: anchored(stated, base)} if isinstance(stated, Mapping) else case


def _placed(case: object, name: str, base: Path) -> object:
    stated = case.get(name) if isinstance(case, Mapping) else None
    if not isinstance(case, Mapping) or not isinstance(stated, str):
        return case
    is_path = name == "data" or stated.endswith(BOOK_SUFFIXES)
    return {**case, name: str((base / Path(stated).expanduser()).resolve())} if is_path else case
