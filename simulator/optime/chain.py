"""The sources of a scenario in their order: each operator goes to the first that provides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.operators import Floats, Ints, Operator
from simulator.optime.provenance import Origin, Priced
from simulator.optime.sources import Context, IterationSource, OperatorSource

Named = tuple[str, OperatorSource]
# Sees an operator's times as its source gave them, and returns those that count.
Through = Callable[[Operator, Priced], Priced]


@dataclass(eq=False)
class Chain:
    """Operator sources in order, and the origins of what they were asked for so far, by operator name.

    All times pass `through`, where there is one.
    """

    sources: Sequence[Named]
    through: Through | None = None
    origins: dict[str, Origin] = field(default_factory=dict)

    def seconds(self, operators: Iterable[Operator]) -> dict[str, Floats]:
        """Returns, by operator name, the seconds of every point times the operator's count."""
        return {operator.name: operator.count * self._price(operator) for operator in operators}

    def _price(self, operator: Operator) -> Floats:
        for name, source in self.sources:
            priced = source.price(operator)
            if priced is not None:
                origin = Origin.of(name, dict(source.versions(operator)), priced.kinds)
                known = self.origins.get(operator.name)
                self.origins[operator.name] = known.joined(origin) if known else origin
                return priced.seconds if self.through is None else self.through(operator, priced).seconds
        self.origins[operator.name] = Origin.absent()
        return np.zeros(operator.tokens.shape)

    def token_knots(self) -> Ints:
        """Returns the token counts, ascending, at which any of the sources has points of its own."""
        own = [source.token_knots() for _, source in self.sources]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *own]))


def open_sources(
    profiles: Sequence[Mapping[str, object]] | None, context: Context, through: Through | None = None
) -> Chain | tuple[str, IterationSource]:
    """Returns the chain of `profiles`, or of the default order when there are none, or the one source of iterations.

    Raises InputError under `profiles.<n>` for an unknown source, a wrong setting, or a source that is not there; and for
    a source of whole iterations beside others, since nothing would be left for them.
    """
    opened = _by_default(context) if profiles is None else _named(profiles, context)
    for position, (name, source) in enumerate(opened):
        if isinstance(source, IterationSource):
            if len(opened) > 1:
                raise InputError(f"profiles.{position}.source", name, "this source alone, since it prices whole iterations")
            return name, source
    return Chain([(name, source) for name, source in opened if isinstance(source, OperatorSource)], through)


def _by_default(context: Context) -> list[tuple[str, object]]:
    modules = [(name, catalog.module("sources", name, "profiles")) for name in catalog.names("sources")]
    ranked = sorted((m.DEFAULT_RANK, name, m) for name, m in modules if m.DEFAULT_RANK is not None)
    return [(name, _open(m, {"source": name}, context, "profiles")) for _, name, m in ranked if m.available(context)]


def _named(profiles: Sequence[Mapping[str, object]], context: Context) -> list[tuple[str, object]]:
    if not profiles:
        raise InputError("profiles", list(profiles), "at least one source, or no such field for the default order")
    opened: list[tuple[str, object]] = []
    for position, settings in enumerate(profiles):
        path = f"profiles.{position}"
        if not isinstance(settings, Mapping):
            raise InputError(path, settings, "a mapping with the field source")
        name = str(settings.get("source"))
        module = catalog.module("sources", name, f"{path}.source")
        opened.append((name, _open(module, settings, context, path)))
    return opened


def _open(module: ModuleType, settings: Mapping[str, object], context: Context, path: str) -> object:
    source: object = module.open_source(module.Settings.parse(settings, path), context, path)
    return source
