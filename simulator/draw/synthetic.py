"""Requests drawn from distributions and presets: classes, sessions and shared prefixes included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator import lengths
from simulator.content import Texts
from simulator.draw.clock import generated
from simulator.draw.kinds import DrawnKind, arrival_of, drawn_kinds
from simulator.draw.patience import patient
from simulator.draw.plan import Plan, plan
from simulator.draw.sessions import Turns
from simulator.draw.streams import stream
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def synthetic(workload: Workload, count: int, seed: int, stratified: bool) -> Traffic:
    """Returns `count` requests on a clock of 1 request a second, or in a closed loop of the workload's users."""
    kinds = drawn_kinds(workload)
    planned = plan(kinds, count, seed, stratified)
    prompt, output, begins = _tokens(kinds, planned, seed, stratified)
    in_session = np.array([kind.sessions is not None for kind in kinds])[planned.kind]
    arrival_s = np.zeros(count)
    if workload.users is None:
        starts = generated(arrival_of(workload), len(planned.begins), seed, stratified)
        arrival_s[planned.begins] = starts * (count / len(starts)) if in_session.any() else starts
    traffic = Traffic(
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        priority=np.zeros(count, np.int64),
        rate_rps=1.0,
        notes=_notes(kinds, planned, in_session),
        class_of=planned.kind,
        class_names=tuple(kind.patience.name for kind in kinds),
        session=np.where(in_session, planned.strand, -1),
        after=np.where(planned.turn > 0, np.arange(count) - 1, -1),
        think_s=_waits(workload, kinds, planned, seed, stratified),
        content=_texts(kinds, planned, prompt, begins, seed, stratified),
    )
    traffic = patient(traffic, [kind.patience for kind in kinds], seed, stratified)
    return traffic if workload.users is None else traffic.with_users(workload.users)


def _tokens(kinds: Sequence[DrawnKind], planned: Plan, seed: int, stratified: bool) -> tuple[Ints, Ints, Flags]:
    """Returns prompt and output tokens of all requests, and which of them begin a text of their own."""
    count = len(planned.kind)
    prompt, output, begins = np.zeros(count, np.int64), np.zeros(count, np.int64), np.ones(count, np.bool_)
    for number, kind in enumerate(kinds):
        rng = stream(seed, "lengths", number)
        rows = np.flatnonzero((planned.kind == number) & (planned.turn == 0))
        prompt_u, output_u = lengths.copula(len(rows), kind.copula_rho, rng, stratified)
        prompt[rows], output[rows] = lengths.sample(kind.prompt_tokens, prompt_u), lengths.sample(kind.output_tokens, output_u)
        if kind.sessions is not None:
            later = np.flatnonzero((planned.kind == number) & (planned.turn > 0))
            prompt[later] = lengths.sample(kind.sessions.new_tokens, lengths.uniforms(len(later), rng, stratified))
            output[later] = lengths.sample(kind.output_tokens, lengths.uniforms(len(later), rng, stratified))
            rows = np.flatnonzero(planned.kind == number)
            dropped = (stream(seed, "resets", number).random(len(rows)) < kind.sessions.reset_share) & (planned.turn[rows] > 0)
            turns = Turns(planned.turn[rows], prompt[rows], output[rows], dropped)
            prompt[rows], output[rows], begins[rows] = turns.grown(kind.sessions.max_context_tokens)
    return prompt, output, begins


def _waits(workload: Workload, kinds: Sequence[DrawnKind], planned: Plan, seed: int, stratified: bool) -> Floats:
    """Returns the seconds that each request waits after the one it follows: a turn thinks, and so does a user between two."""
    waits = np.zeros(len(planned.kind))
    if workload.think_time_s is not None:
        u = lengths.uniforms(len(planned.begins), stream(seed, "pauses"), stratified)
        waits[planned.begins] = lengths.seconds(workload.think_time_s, u)
    for number, kind in enumerate(kinds):
        if kind.sessions is not None:
            rows = np.flatnonzero((planned.kind == number) & (planned.turn > 0))
            u = lengths.uniforms(len(rows), stream(seed, "thinking", number), stratified)
            waits[rows] = lengths.seconds(kind.sessions.think_time_s, u)
    return waits


def _texts(kinds: Sequence[DrawnKind], planned: Plan, prompt: Ints, begins: Flags, seed: int, stratified: bool) -> Texts | None:
    """Returns what the requests are made of; None where no two have anything in common."""
    if all(kind.prefix is None and kind.sessions is None for kind in kinds):
        return None
    group, shared = np.full(len(prompt), -1, np.int64), np.zeros(len(prompt), np.int64)
    groups = 0
    for number, kind in enumerate(kinds):
        if kind.prefix is None:
            continue
        rng = stream(seed, "prefixes", number)
        tokens = lengths.sample(kind.prefix.shared_tokens, lengths.uniforms(kind.prefix.groups, rng, stratified))
        popular = np.cumsum((1.0 + np.arange(kind.prefix.groups)) ** -kind.prefix.zipf)
        strands = np.unique(planned.strand[planned.kind == number])
        u = lengths.uniforms(len(strands), rng, stratified)
        chosen = np.zeros(int(planned.strand[-1]) + 1, np.int64)
        chosen[strands] = np.minimum(np.searchsorted(popular / popular[-1], u, side="right"), kind.prefix.groups - 1)
        rows = np.flatnonzero(planned.kind == number)
        of_row = chosen[planned.strand[rows]]
        group[rows], shared[rows] = groups + of_row, tokens[of_row]
        groups += kind.prefix.groups
    # A text has as much of the system prompt as its first request; the later ones begin with that request.
    text = np.cumsum(begins) - 1
    return Texts(group, np.minimum(shared, prompt[np.flatnonzero(begins)][text]), text)


def _notes(kinds: Sequence[DrawnKind], planned: Plan, in_session: Flags) -> tuple[str, ...]:
    if not in_session.any():
        return ()
    turns = np.bincount(planned.strand[in_session])
    sessions = int((turns > 0).sum())
    mean = in_session.sum() / sessions
    return (f"{sessions:,} sessions of {mean:.1f} turns in the mean begin one by one: the load builds up while they overlap",)
