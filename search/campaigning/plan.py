"""The plan of a campaign: parts in order, each with items that are commands of `trimtab`, and validations by axes."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PositiveFloat, PositiveInt

from simulator.errors import InputError, unknown_name
from simulator.scenario import Scenario
from simulator.spec.base import Spec, read_yaml

DEFAULT = Path(__file__).with_name("lone_gpu.yaml")
COPY = "plan.yaml"
VALIDATE = "validate {out}/scenarios/NAME.yaml --keep {out}/validations/NAME.json --logs {out}/logs/NAME --here --loads LOADS"


class Item(Spec):
    """A command: `{device}`, `{out}`, `{budget}` and `{again}` in it are filled in.

    `seconds` have to be left for it to be begun. A command with `{budget}` tells in its document whether it has `finished`,
    and is called again until it has, or for `at_most_s` in all. `anew`: it is run again after whatever else was run.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    command: str
    seconds: PositiveFloat
    at_most_s: PositiveFloat | None = None
    anew: bool = False

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """Returns the command's words, each with what stands for its names; words that come to nothing are left out."""
        filled = [_filled(word, values) for word in shlex.split(self.command)]
        return [word for word in filled if word]

    @property
    def answers(self) -> bool:
        """Whether the command answers with a JSON document."""
        return "--json" in shlex.split(self.command)


class Part(Spec):
    """What is run together, and why."""

    name: str
    what: str
    items: tuple[Item, ...] = Field(min_length=1, strict=False)


class Validations(Spec):
    """Deployments: `common` with one choice of each axis; the loads, requests and workload that all are run under."""

    what: str
    common: dict[str, Any]
    axes: list[list[dict[str, Any]]] = Field(min_length=1)
    workload: dict[str, Any]
    loads: list[PositiveFloat] = Field(min_length=1)
    requests: PositiveInt
    seconds: PositiveFloat
    per_part: PositiveInt


class _File(Spec):
    name: str
    budget_s: PositiveFloat
    start_s: PositiveFloat
    parts: tuple[Part, ...] = Field(min_length=1, strict=False)
    validations: Validations
    last: tuple[Part, ...] = Field(default=(), strict=False)


@dataclass(frozen=True)
class Plan:
    """A campaign on one device: its parts in order, its scenarios by name, and the seconds of a call.

    `start_s` is what a command takes beside the budget that it is given.
    """

    name: str
    device: str
    budget_s: float
    start_s: float
    parts: tuple[Part, ...]
    scenarios: dict[str, dict[str, Any]]

    def chosen(self, text: str | None, field: str = "--part") -> list[Part]:
        """Returns the part with a number from 1 or a name, all of them for None; raises InputError for one that there is not."""
        if text is None:
            return list(self.parts)
        for number, part in enumerate(self.parts, 1):
            if text in (str(number), part.name):
                return [part]
        raise unknown_name(field, text, [part.name for part in self.parts])


def read(path: Path, device: str) -> Plan:
    """Returns the plan in a file for a device of the catalog; raises InputError naming the first wrong field."""
    file = _File.parse(read_yaml(path))
    scenarios = dict(_scenarios(file.validations, device))
    parts = (*file.parts, *_validation_parts(file.validations, list(scenarios)), *file.last)
    for what, names in (("part", [part.name for part in parts]), ("item", [item.name for part in parts for item in part.items])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError("parts", twice[0], f"names that only one {what} has")
    return Plan(file.name, device, file.budget_s, file.start_s, parts, scenarios)


def write(plan: Plan, file: Path, out: Path) -> None:
    """Writes into a campaign's folder a copy of its plan's file, and a scenario for each deployment that is validated."""
    (out / "scenarios").mkdir(parents=True, exist_ok=True)
    text = file.read_text(encoding="utf-8")
    (out / COPY).write_text(text, encoding="utf-8")
    for name, scenario in plan.scenarios.items():
        (out / "scenarios" / f"{name}.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False), encoding="utf-8")


def _scenarios(told: Validations, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for choices in itertools.product(*told.axes):
        chosen = {name: value for choice in choices for name, value in choice.items()}
        scenario = {"deployment": {**told.common, **chosen, "device": device}, "workload": told.workload}
        Scenario.parse(scenario, "validations")
        yield "-".join(_short(value) for value in chosen.values()), scenario


def _short(value: object) -> str:
    return str(value).rsplit("/", 1)[-1].lower()


def _validation_parts(told: Validations, names: Sequence[str]) -> Iterator[Part]:
    loads = ",".join(f"{load:g}" for load in told.loads)
    for number, start in enumerate(range(0, len(names), told.per_part), 1):
        items = []
        for name in names[start : start + told.per_part]:
            command = VALIDATE.replace("NAME", name).replace("LOADS", loads)
            command += f" --requests {told.requests} --budget-s {{budget}} {{again}} --json"
            items.append(Item(name=name, command=command, seconds=told.seconds))
        yield Part(name=f"validation-{number}", what=told.what, items=tuple(items))


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
