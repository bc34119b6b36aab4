"""Kinds: what the requests of each class are, once the workload's own fields and the presets are filled in."""

from __future__ import annotations

from dataclasses import dataclass

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.distributions import Lengths
from simulator.spec.workload import Arrival, Cancellation, Kind, Prefix, Sessions, Workload

ALL = "all"


@dataclass(frozen=True)
class Patience:
    """The priority of the requests of one class, None for that of the trace, and when they are dropped."""

    name: str
    priority: int | None
    deadline_s: float | None
    cancellation: Cancellation | None


@dataclass(frozen=True)
class DrawnKind:
    """The requests of one class: their share, lengths and what they have in common."""

    patience: Patience
    share: float
    prompt_tokens: Lengths
    output_tokens: Lengths
    copula_rho: float
    prefix: Prefix | None
    sessions: Sessions | None


def patience_of(workload: Workload, name: str) -> Patience:
    """Returns the patience of one class: its own fields, else those of the workload."""
    own = (workload.classes or {}).get(name)
    return Patience(
        name=name,
        priority=workload.priority if own is None or own.priority is None else own.priority,
        deadline_s=(own and own.deadline_s) or workload.deadline_s,
        cancellation=(own and own.cancellation) or workload.cancellation,
    )


def drawn_kinds(workload: Workload) -> tuple[DrawnKind, ...]:
    """Returns the classes of a workload without a trace, in the order of the request; a single one when it has none."""
    if workload.classes is None:
        return (_kind(ALL, 1.0, workload, workload, "workload"),)
    return tuple(
        _kind(name, each.share or 0.0, each if each.origins else workload, workload, f"workload.classes.{name}", each)
        for name, each in workload.classes.items()
    )


def arrival_of(workload: Workload) -> Arrival:
    """Returns the arrival process of a workload without a trace: its own, else its preset's, else Poisson."""
    if workload.arrival is not None or workload.preset is None:
        return workload.arrival or Arrival()
    return catalog.preset(workload.preset).arrival


def refuse_rho(kind: Kind, field: str, origin: str) -> None:
    """Raises InputError for a correlation of lengths that have their own."""
    if kind.copula_rho != 0:
        raise InputError(f"{field}.copula_rho", kind.copula_rho, f"none with a {origin}, whose lengths go together already")


def _kind(name: str, share: float, lengths: Kind, workload: Workload, field: str, own: Kind | None = None) -> DrawnKind:
    """Returns a class whose lengths are those of `lengths`; what its prompts have in common comes with them or is its own."""
    field = "workload" if lengths is workload else field
    prefix = (own and own.prefix) or lengths.prefix
    sessions = (own and own.sessions) or lengths.sessions
    most = (own or workload).max_context_tokens
    patience = patience_of(workload, name)
    if lengths.preset is None:
        prompt, output = lengths.prompt_tokens, lengths.output_tokens
        assert prompt is not None and output is not None, "a Kind with an origin has both"
        return DrawnKind(patience, share, prompt, output, lengths.copula_rho, prefix, _cut(sessions, most, field))
    refuse_rho(lengths, field, "preset")
    preset = catalog.preset(lengths.preset, f"{field}.preset")
    return DrawnKind(
        patience=patience,
        share=share,
        prompt_tokens=preset.prompt_tokens,
        output_tokens=preset.output_tokens,
        copula_rho=preset.copula_rho,
        prefix=prefix or preset.prefix,
        sessions=_cut(sessions or preset.sessions, most, field),
    )


def _cut(sessions: Sessions | None, max_context_tokens: int | None, field: str) -> Sessions | None:
    """Returns the sessions with another limit on their context; None leaves them theirs."""
    if max_context_tokens is None:
        return sessions
    if sessions is None:
        raise InputError(f"{field}.max_context_tokens", max_context_tokens, "none without sessions, whose context it cuts")
    return sessions.model_copy(update={"max_context_tokens": max_context_tokens})
