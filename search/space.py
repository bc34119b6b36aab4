"""Space: every combination of knobs that a study may try, and which of them are legal.

Each field of a request's `space` is a value, a list of values, `{low, high, step}` or `{low, high, log2: true}` (the
powers of two from low to high). Its values, sorted, make a Dimension, and a point of the space is one index a dimension:
samplers see ordered integers, not categories. A point is turned into a Resolved deployment, or into the InputError that
says why it is not legal; combinations that are equal once the engine profile has filled in its defaults are one deployment.

An option of schedulers is a knob under its own name, `scheduler_options.chunk_size` (or under `scheduler_options`); those
schedulers that have no such option are tried without it. So are the knobs of contiguous KV and of verified decoding where
those are not in use.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.grid import values_of
from simulator import catalog, features
from simulator.errors import Infeasible, InputError, unknown_name
from simulator.resolve import resolve
from simulator.spec.base import Spec
from simulator.spec.deployment import Deployment, Resolved
from simulator.spec.prices import PriceBook

Point = tuple[int, ...]
ENUMERABLE = 200_000
_GPU_KNOBS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas")
_NOT_IN_SPACE = {"model", "engine"}
_GIVEN = {"expert_load"}
_OPTIONS = "scheduler_options"
_CATALOG = {"device": "devices", "scheduler": "schedulers", "router": "routers"}


@dataclass(frozen=True)
class Dimension:
    """One knob and the distinct values that it takes, in ascending order, None (the engine's default) first."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Limits:
    """What rules a combination out beside the engine: a price book, and the most GPUs that a fleet may occupy."""

    max_gpus: int
    prices: PriceBook | None = None


class Space:
    """The combinations of a model's knobs, in a fixed order; remembers what it has resolved."""

    def __init__(self, model: str, engine: str, dimensions: Sequence[Dimension], limits: Limits, field: str = "space") -> None:
        self.dimensions = tuple(dimensions)
        self._fixed = {"model": model, "engine": engine}
        self._limits = limits
        self._field = field
        self._seen: dict[Point, Resolved | InputError] = {}

    @classmethod
    def parse(cls, data: object, *, model: str, engine: str, limits: Limits, sized: bool = False, field: str = "space") -> Space:
        """Returns the space that `data` describes; raises InputError naming the first wrong field.

        `sized` says that the number of replicas follows from a demand, so that it cannot be in the space.
        """
        if not isinstance(data, Mapping):
            raise InputError(field, data, f"a mapping of knobs: {', '.join(knobs(sized))}")
        data = flat(data, field)
        for name in data:
            if name == "replicas" and sized:
                raise InputError(f"{field}.{name}", data[name], "nothing, since demand decides the number of replicas")
            if name not in knobs(sized) and not name.startswith(f"{_OPTIONS}."):
                raise unknown_name(f"{field}.{name} (unknown knob)", data[name], knobs(sized))
        if "device" not in data:
            raise unknown_name(f"{field}.device", None, catalog.names("devices"))
        catalog.model(model)
        dimensions = [Dimension(name, _checked(name, data[name], f"{field}.{name}")) for name in knobs(sized) if name in data]
        default = catalog.engine(engine).defaults.scheduler
        schedulers = next((d.values for d in dimensions if d.name == "scheduler"), (default,))
        for name in sorted(name for name in data if name.startswith(f"{_OPTIONS}.")):
            who = [default if scheduler is None else scheduler for scheduler in schedulers]
            dimensions.append(Dimension(name, _checked_option(name, data[name], who, f"{field}.{name}")))
        return cls(model, engine, dimensions, limits, field)

    @property
    def size(self) -> int:
        """The number of combinations, legal or not."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def point(self, number: int) -> Point:
        """Returns the point of that number, 0 <= number < size; the last dimension runs fastest."""
        indices: list[int] = []
        for dimension in reversed(self.dimensions):
            number, index = divmod(number, len(dimension.values))
            indices.append(index)
        return tuple(reversed(indices))

    def at(self, point: Point) -> Resolved | InputError:
        """Returns the deployment at a point, or the error that says why it is not legal."""
        if point not in self._seen:
            try:
                self._seen[point] = self._resolved(point)
            except InputError as error:
                self._seen[point] = error
        return self._seen[point]

    def locate(self, deployment: Resolved) -> Point | None:
        """Returns a point at which the deployment lies, or None when it is not in the space."""
        indices: list[int] = []
        for dimension in self.dimensions:
            value = _value(deployment, dimension.name)
            # None comes first, and what a deployment does not heed may be anything.
            default = next((i for i, other in enumerate(dimension.values) if other == "auto"), 0)
            indices.append(dimension.values.index(value) if value in dimension.values else default)
        point = tuple(indices)
        return point if self.at(point) == deployment else None

    def walk(self) -> Iterator[Resolved]:
        """Yields every legal deployment once, in the order of points."""
        given: set[Resolved] = set()
        for number in range(self.size):
            found = self.at(self.point(number))
            if isinstance(found, Resolved) and found not in given:
                given.add(found)
                yield found

    def deployments(self) -> list[Resolved]:
        """Returns every legal deployment once; raises InputError or Infeasible when there is none."""
        legal = list(self.walk())
        if not legal:
            raise self.nothing_legal()
        return legal

    @property
    def dropped(self) -> Counter[str]:
        """How many of the combinations looked at so far are not legal, by reason."""
        return Counter(str(found) for found in self._seen.values() if isinstance(found, InputError))

    def nothing_legal(self) -> InputError | Infeasible:
        """Returns the error for a space without a legal point: the one knob that is always to blame, else the commonest reasons."""
        errors = [found for found in self._seen.values() if isinstance(found, InputError)]
        blamed = {error.field for error in errors}
        if len(blamed) == 1:
            name = blamed.pop().removeprefix(f"{self._field}.")
            values = next((d.values for d in self.dimensions if d.name == name), None)
            shown = errors[0].value if values is None else values[0] if len(values) == 1 else list(values)
            return InputError(errors[0].field, shown, errors[0].allowed)
        reasons = "; ".join(f"{reason} ({count} of {len(errors)})" for reason, count in self.dropped.most_common(3))
        return Infeasible(f"{self._field} has no legal combination: {reasons}")

    def _resolved(self, point: Point) -> Resolved:
        chosen = {d.name: d.values[index] for d, index in zip(self.dimensions, point, strict=True)}
        knobs_here = {name: value for name, value in chosen.items() if "." not in name}
        if len(knobs_here) < len(chosen):
            default = catalog.engine(self._fixed["engine"]).defaults.scheduler
            known = _options(knobs_here.get("scheduler") or default)
            given = {name.partition(".")[2]: value for name, value in chosen.items() if "." in name}
            knobs_here[_OPTIONS] = {name: value for name, value in given.items() if name in known}
        deployment = Deployment.parse({**self._fixed, **features.relevant(knobs_here)}, self._field)
        self._check_limits(deployment)
        try:
            return resolve(deployment, self._field)
        except Infeasible as error:
            raise InputError(self._field, chosen, str(error)) from None

    def _check_limits(self, deployment: Deployment) -> None:
        parallel = deployment.data_parallel_size
        if parallel > 1 and not catalog.model(deployment.model).num_local_experts:
            allowed = "1 for a model without experts, whose data-parallel engines are independent: replicas are the knob"
            raise InputError(f"{self._field}.data_parallel_size", parallel, allowed)
        most, book = self._limits.max_gpus, self._limits.prices
        if deployment.gpus > most:
            parts = {name: getattr(deployment, name) for name in _GPU_KNOBS if getattr(deployment, name) > 1}
            shown = deployment.gpus if len(parts) == 1 else " x ".join(f"{name} {count}" for name, count in parts.items())
            raise InputError(f"{self._field}.{next(iter(parts))}", shown, f"at most budget.max_gpus ({most}) GPUs")
        if book is None:
            return
        if deployment.device not in book.devices:
            raise InputError(
                f"{self._field}.device", deployment.device, f"what the price book sells {book.term}: {', '.join(book.devices)}"
            )
        if not book.offers(deployment.device, deployment.gpus_per_replica):
            allowed = f"replicas that instances of {deployment.device} in the price book can hold"
            largest = max(_GPU_KNOBS[:-1], key=lambda name: getattr(deployment, name))
            raise InputError(f"{self._field}.{largest}", f"{deployment.gpus_per_replica} GPUs", allowed)


def knobs(sized: bool = False) -> tuple[str, ...]:
    """Returns the names that a space may hold, in the order of Deployment."""
    absent = _NOT_IN_SPACE | {_OPTIONS} | ({"replicas"} if sized else set())
    return tuple(name for name in Deployment.model_fields if name not in absent)


def flat(data: Mapping[str, Any], field: str = "space") -> dict[str, Any]:
    """Returns a space with the options of schedulers as knobs of their own; raises InputError for one that is given twice."""
    nested = data.get(_OPTIONS, {})
    if not isinstance(nested, Mapping):
        raise InputError(f"{field}.{_OPTIONS}", nested, f"a mapping of options, each a value or several, or {_OPTIONS}.OPTION")
    for name in nested:
        if f"{_OPTIONS}.{name}" in data:
            raise InputError(f"{field}.{_OPTIONS}.{name}", nested[name], "each option once")
    return {
        **{str(name): value for name, value in data.items() if name != _OPTIONS},
        **{f"{_OPTIONS}.{name}": value for name, value in nested.items()},
    }


def _options(scheduler: str) -> Mapping[str, Any]:
    """Returns the options of a scheduler, by name."""
    policy = catalog.module("schedulers", scheduler, "scheduler")
    return policy.Options.model_fields if hasattr(policy, "Options") else {}


def _value(deployment: Resolved, name: str) -> Any:
    """Returns the value of a knob, or of an option; None for an option that the scheduler has not."""
    knob, _, option = name.partition(".")
    value = getattr(deployment, knob)
    return value.get(option) if option else value


def _checked_option(name: str, given: object, schedulers: Sequence[str], field: str) -> tuple[Any, ...]:
    """Returns the sorted distinct values of an option; raises InputError where no scheduler takes it."""
    option = name.partition(".")[2]
    takers = [each for each in schedulers if option in _options(each)]
    if not takers:
        raise unknown_name(f"{field} (unknown option)", given, sorted({o for each in schedulers for o in _options(each)}))
    values: list[Any] = []
    for value, where in values_of(given, field):
        refusals = []
        for each in takers:
            try:
                options: Spec = catalog.module("schedulers", each, field).Options.parse({option: value}, where)
                values.append(getattr(options, option))
                break
            except InputError as error:
                refusals.append(InputError(where, error.value, error.allowed))
        else:
            raise refusals[0]
    return tuple(sorted(dict.fromkeys(values)))


def _checked(name: str, given: object, field: str) -> tuple[Any, ...]:
    """Returns the sorted distinct values of a knob; raises InputError for a wrong type and for an unknown name."""
    if isinstance(given, Mapping) and not _is_number(name):
        raise InputError(field, dict(given), "a value or a list of values")
    values = [_typed(name, value, where) for value, where in values_of(given, field)]
    if name in _GIVEN and len(set(values)) > 1:
        raise InputError(field, given, "one value, since the traffic decides it and not the operator")
    return tuple(sorted(dict.fromkeys(values), key=lambda value: (value is not None, value if value is not None else 0)))


def _typed(name: str, value: object, field: str) -> Any:
    if name in _CATALOG and isinstance(value, str) and value not in catalog.names(_CATALOG[name]):
        raise unknown_name(field, value, catalog.names(_CATALOG[name]))
    try:
        deployment = Deployment.parse({"model": "any", "device": "any", name: value})
    except InputError as error:
        raise InputError(field, error.value, error.allowed) from None
    return getattr(deployment, name)


def _is_number(name: str) -> bool:
    """Returns whether the knob takes numbers, all of which take 1."""
    try:
        return bool(_typed(name, 1, name))
    except InputError:
        return False
