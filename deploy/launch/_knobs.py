"""How single knobs are written on a command line and read again; what launchers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Resolved


@dataclass(frozen=True)
class Line:
    """A command line, read: variables set in front, words before the first flag, and flags with their values."""

    environment: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read(arguments: Sequence[str]) -> Line:
    """Returns a command line's parts; a flag given several times has all of its values."""
    rest = list(arguments)
    environment: dict[str, str] = {}
    if rest[:1] == ["env"]:
        rest.pop(0)
        while rest and "=" in rest[0]:
            name, _, value = rest.pop(0).partition("=")
            environment[name] = value
    words: list[str] = []
    flags: dict[str, tuple[str, ...]] = {}
    flag = None
    for part in rest:
        if part.startswith("--"):
            flag = part
            flags.setdefault(flag, ())
        elif flag is None:
            words.append(part)
        else:
            flags[flag] += (part,)
    return Line(environment, tuple(words), flags)


class Knob(Protocol):
    """How one knob is written and read."""

    def render(self, name: str, value: Any) -> tuple[str, ...]:
        """Returns the knob's part of a command line; raises InputError for a value that cannot be told."""

    def stated(self, line: Line) -> tuple[Any, ...]:
        """Returns the value that a line states, in a tuple, or an empty one."""


@dataclass(frozen=True)
class Value:
    """`--flag VALUE`; `shift` is added on the way to the engine, `words` are the engine's words for ours. None is left out."""

    flag: str
    kind: type[int] | type[float] | type[str]
    shift: int = 0
    words: Mapping[str, str] = field(default_factory=dict)

    def render(self, name: str, value: Any) -> tuple[str, ...]:
        """Returns the flag and its value."""
        if value is None:
            return ()
        if self.words and value not in self.words:
            raise InputError(name, value, ", ".join(self.words))
        return self.flag, self.words.get(value, str(value + self.shift if self.shift else value))

    def stated(self, line: Line) -> tuple[Any, ...]:
        """Returns the value in our words."""
        ours = {theirs: own for own, theirs in self.words.items()}
        return tuple(ours[text] if self.words else self._typed(text) for text in line.flags.get(self.flag, ())[:1])

    def _typed(self, text: str) -> int | float | str:
        value = self.kind(text)
        return value - self.shift if isinstance(value, int) else value


@dataclass(frozen=True)
class Switch:
    """A flag for true and a flag for false; where there is only one, its absence is the other."""

    on: str | None
    off: str | None

    def render(self, name: str, value: Any) -> tuple[str, ...]:
        """Returns the flag for the value, if there is one."""
        flag = self.on if value else self.off
        return () if flag is None else (flag,)

    def stated(self, line: Line) -> tuple[Any, ...]:
        """Returns what the flag that is there, or not there, says."""
        if self.on is not None and self.on in line.flags:
            return (True,)
        if self.off is not None and self.off in line.flags:
            return (False,)
        return () if self.on and self.off else (self.on is None,)


@dataclass(frozen=True)
class Only:
    """A knob that cannot be told: one value is what the engine does anyway, and any other is refused."""

    value: Any
    why: str

    def render(self, name: str, value: Any) -> tuple[str, ...]:
        """Returns nothing for the one value."""
        if value != self.value:
            shown = str(self.value).lower() if isinstance(self.value, bool) or self.value is None else self.value
            raise InputError(name, value, f"{shown or 'none'} ({self.why})")
        return ()

    def stated(self, line: Line) -> tuple[Any, ...]:
        """Returns the one value."""
        return (self.value,)


def rendered(knobs: Mapping[str, Knob], deployment: Resolved) -> tuple[str, ...]:
    """Returns the parts of a command line for these knobs, in their order."""
    return tuple(part for name, knob in knobs.items() for part in knob.render(name, getattr(deployment, name)))


def stated(knobs: Mapping[str, Knob], line: Line) -> dict[str, Any]:
    """Returns the knobs that a line states."""
    return {name: value for name, knob in knobs.items() for value in knob.stated(line)}


def check_profile(deployment: Resolved, profile: str) -> None:
    """Raises InputError for a deployment whose knobs were resolved for another engine or version."""
    if deployment.engine != profile:
        raise InputError("engine", deployment.engine, profile)


def quantization(deployment: Resolved, online: Sequence[str]) -> str | None:
    """Returns the method with which weights are to be quantised as they are loaded, None where they are as published.

    Raises InputError where only other weights would do.
    """
    published = catalog.model(deployment.model).quantization or "none"
    if deployment.quantization == published:
        return None
    if published == "none" and deployment.quantization in online:
        return deployment.quantization
    also = [published, *(online if published == "none" else ())]
    raise InputError("quantization", deployment.quantization, f"{' or '.join(also)} (with the weights of {deployment.model})")
