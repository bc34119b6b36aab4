"""SearchRequest: what a study is asked for, the same in YAML, REST and SQL. What is accepted here can be run."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from search import objectives, samplers
from search.objectives import Objective
from search.samplers import Problem
from search.space import Limits, Space
from simulator import catalog, features
from simulator.errors import InputError, unknown_name
from simulator.scenario import UPLOAD, anchored, content_hash
from simulator.spec.base import Spec, read_yaml
from simulator.spec.correction import Correction
from simulator.spec.prices import PriceBook
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload


class Demand(Spec):
    """The load that each trial's fleet is sized for."""

    rate_rps: PositiveFloat


class Budget(Spec):
    """The most GPUs that a fleet may occupy, and the most trials that a study may run."""

    max_gpus: PositiveInt = 16
    trials: PositiveInt = 300


class SearchRequest(Spec):
    """A model, its traffic and Slo, the knobs to try, what to minimize or maximize, and how long to search.

    `prices` is a book of the catalog or an absolute path; `space` is read by `search.space`. Dollars need `prices`.
    `correction` holds factors that validations gave, by `trimtab search --correction NAME` those that are stored.
    """

    name: str = Field(min_length=1, max_length=200)
    model: str
    engine: str = "vllm-0.19"
    workload: Workload
    slo: Slo
    demand: Demand | None = None
    prices: str | None = None
    profiles: tuple[dict[str, Any], ...] | None = Field(default=None, min_length=1, strict=False)
    correction: Correction | None = None
    space: dict[str, Any]
    objectives: tuple[str, ...] = Field(default=("usd_per_million_output_tokens", "ttft_p99_s"), min_length=1, strict=False)
    budget: Budget = Budget()
    sampler: str = "auto"
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        # The classes' own bounds lie in the workload; whoever judges a run asks the Slo alone.
        self.__dict__["slo"] = self.workload.slo_with(self.slo)
        tried = [value for knob in self.build_space().dimensions if knob.name == "determinism" for value in knob.values]
        features.check_slo(tried, self.slo)
        for name in ("num_requests", "rate_rps"):
            if getattr(self.workload, name) is not None:
                allowed = "nothing in a search, which sets it itself (the load to size for is demand.rate_rps)"
                raise InputError(f"workload.{name}", getattr(self.workload, name), allowed)
        if self.demand is not None and self.workload.users is not None:
            allowed = "no demand with workload.users, who send the next request when the last one is done and have no rate"
            raise InputError("demand.rate_rps", self.demand.rate_rps, allowed)
        if self.sampler not in samplers.names():
            raise unknown_name("sampler", self.sampler, samplers.names())
        for index, objective in enumerate(self.objective_list):
            if objective.name in self.objectives[:index]:
                raise InputError(f"objectives.{index}", objective.name, "every objective once")
            if objective.needs_prices and self.prices is None:
                allowed = f"a price book, since {objective.name} needs one: {', '.join(catalog.names('prices'))}"
                raise InputError("prices", None, allowed)
        return self

    @cached_property
    def objective_list(self) -> tuple[Objective, ...]:
        """The objectives in the request's order."""
        return tuple(objectives.load(name, f"objectives.{index}") for index, name in enumerate(self.objectives))

    @cached_property
    def price_book(self) -> PriceBook | None:
        """The price book, or None when the request names none."""
        return None if self.prices is None else catalog.price_book(self.prices)

    def build_space(self) -> Space:
        """Returns a new Space with the combinations that the request allows."""
        limits = Limits(self.budget.max_gpus, self.price_book)
        return Space.parse(self.space, model=self.model, engine=self.engine, limits=limits, sized=self.demand is not None)

    def problem(self, space: Space | None = None) -> Problem:
        """Returns what a sampler is to search, in `space` or in a new one."""
        directions = tuple(objective.direction for objective in self.objective_list)
        return Problem(space or self.build_space(), directions, self.budget.trials, self.seed)

    def override(self, trials: int | None = None, seed: int | None = None) -> SearchRequest:
        """Returns the request with another number of trials or another seed; None keeps what it has."""
        data = self.model_dump()
        data["budget"]["trials"] = self.budget.trials if trials is None else trials
        data["seed"] = self.seed if seed is None else seed
        return SearchRequest.parse(data)

    def corrected_by(self, correction: Correction) -> SearchRequest:
        """Returns the request with the simulator's times under a correction."""
        return SearchRequest.parse({**self.model_dump(), "correction": correction.model_dump()})

    def digest(self) -> str:
        """Returns the SHA-256 in hex of the canonical JSON, which is equal for requests that ask for the same.

        Files count by their content and not by their path, and a knob by the values that it takes.
        """
        data = self.model_dump(mode="json")
        if self.correction is None:
            # As before there were corrections.
            del data["correction"]
        data["space"] = {dimension.name: dimension.values for dimension in self.build_space().dimensions}
        trace = self.workload.trace
        if trace is not None and not trace.startswith(UPLOAD):
            data["workload"]["trace"] = content_hash(trace, "workload.trace")
        if self.prices is not None and self.prices not in catalog.names("prices"):
            data["prices"] = content_hash(self.prices, "prices")
        for index, profile in enumerate(data["profiles"] or ()):
            if isinstance(profile.get("path"), str) and Path(profile["path"]).is_file():
                profile["path"] = content_hash(profile["path"], f"profiles.{index}.path")
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> SearchRequest:
    """Returns the request in a YAML file, its paths absolute; raises InputError naming the first wrong field."""
    return SearchRequest.parse(anchored(read_yaml(path), path.parent))
