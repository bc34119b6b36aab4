"""The frontier of a study as its reader asks for it: which axes, which colour, which Slo and which prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis, axis_of
from dashboard.figures import explore
from dashboard.words import count, deployment_title, gpus, in_order, knobs, number, usd
from db import queries, sampled
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import Store
from search.quoting import Quoted, Terms, frontier, quote, terms_of
from simulator import catalog
from simulator.errors import InputError
from simulator.spec.prices import PriceBook
from simulator.spec.slo import Slo

# What a browser draws at once, and what is quoted while a slider is let go.
MOST_MEMBERS, MOST_BEATEN, MOST_QUOTED = 300, 200, 80
RATE = Axis("rate_rps", "Arrival rate (requests per second)", "requests per second", False)
FLEET = Axis("fleet_gpus", "GPUs of the fleet", "GPUs", True)
FIXED = ("trial", "place", "tied", "on_frontier", "hover")
PRICES = ("on_demand_usd_per_hour", "reserved_usd_per_hour", "spot_usd_per_hour")


@dataclass(frozen=True)
class Asked:
    """What the reader chose; `slo` holds the limits in seconds and `prices` factors by device that differ from the study's."""

    x: str
    y: str
    color: str = "device"
    x_scale: str | None = None
    y_scale: str | None = None
    slo: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """The figure, what it shows in a sentence, and the deployments about which the stored curves say nothing."""

    figure: go.Figure
    told: str
    outside: list[str]


def axes_of(study: StudyRow, slo: Mapping[str, Any] | None = None) -> list[Axis]:
    """Returns what may stand on an axis: the objectives, the rate and the size of the fleet."""
    limits = (study.request.get("slo") or {}) if slo is None else slo
    return [*(axis_of(name, limits) for name in study.request["objectives"]), RATE, FLEET]


def varied(study: StudyRow) -> list[str]:
    """Returns the knobs with more than one setting in a study's space, those first that are asked about first."""
    space = study.request.get("space") or {}
    names = [name for name, value in space.items() if isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 1)]
    if study.request.get("demand"):
        names.append("replicas")
    first = [name for name in names if name not in in_order(names)]
    return [*first, *in_order(names)]


def draw(store: Store, study: StudyRow, asked: Asked) -> Drawn:
    """Returns the frontier as it is stored, or under other terms as the stored curves tell; raises InputError for a wrong name."""
    own = study.request.get("slo") or {}
    limits = {**own, **asked.slo}
    axes = {axis.name: axis for axis in axes_of(study, limits)}
    for name, value in (("x", asked.x), ("y", asked.y)):
        if value not in axes:
            raise InputError(name, value, ", ".join(axes))
    if asked.slo or asked.prices:
        frame, told, outside = _quoted(store, study, limits, asked)
    else:
        frame, told, outside = *_stored(store, study), []
    color = asked.color if asked.color in frame else "device"
    look = explore.Look(axes[asked.x], axes[asked.y], color, color, asked.x_scale, asked.y_scale)
    return Drawn(explore.figure(frame, look), told, outside)


def explore_frame(rows: Sequence[tuple[TrialRow, float, Mapping[str, Any], bool, int, bool]], study: StudyRow) -> pd.DataFrame:
    """Returns one row an operating point from (trial, rate, objectives, on the frontier, place, tied).

    Columns: trial, place, tied, on_frontier, hover, rate_rps, fleet_gpus, every objective (NaN where there is no value), and
    every knob that the study varies: numbers where objectives are, text for knobs.
    """
    names, settings = list(study.request["objectives"]), varied(study)
    axes = [axis_of(name, {}) for name in names]
    found = [
        {
            "trial": trial.number,
            "place": place,
            "tied": tied,
            "on_frontier": member,
            "hover": _hover(trial, rate, values, axes, settings),
            "rate_rps": rate,
            "fleet_gpus": float(gpus(trial.deployment)),
            **{name: values.get(name) for name in names},
            "device": escape(str(trial.deployment.get("device"))),
            **{name: escape(str(trial.deployment.get(name))) for name in settings},
        }
        for trial, rate, values, member, place, tied in rows
    ]
    numeric = dict.fromkeys(["rate_rps", "fleet_gpus", *names], float)
    columns = list(dict.fromkeys([*FIXED, *numeric, "device", *settings]))
    return pd.DataFrame(found, columns=columns).astype({**numeric, "on_frontier": bool, "tied": bool})


def _hover(trial: TrialRow, rate: float, values: Mapping[str, Any], axes: Sequence[Axis], settings: Sequence[str]) -> str:
    told = [f"{axis.short}: {axis.text(values.get(axis.name))}" for axis in axes]
    lines = [f"<b>{escape(deployment_title(trial.deployment))}</b>  (trial {trial.number})"]
    lines += [escape(knobs(trial.deployment, in_order(settings))), f"At {number(rate)} requests/s", *map(escape, told)]
    return "<br>".join(line for line in lines if line)


def _stored(store: Store, study: StudyRow) -> tuple[pd.DataFrame, str]:
    members = sampled.frontier(store, study.id, MOST_MEMBERS)
    others = sampled.beaten(store, study.id, MOST_BEATEN)
    done = queries.trial_counts(store, study.id).get("done", 0)
    rows = [_row(item, place) for place, item in enumerate(members, 1)] + [_row(item, 0) for item in others]
    told = "Nothing beats the solid points in all objectives at once; faint ones are beaten."
    shown = len({item.trial.number for item in [*members, *others]})
    if shown < done:
        told += f" Of {done:,} deployments {shown:,} are drawn: all on the frontier, and of the others every so many-th."
    return explore_frame(rows, study), told


def _row(item: TrialPoint, place: int) -> tuple[TrialRow, float, Mapping[str, Any], bool, int, bool]:
    return item.trial, item.point.rate_rps, item.point.objectives, place > 0, place, item.point.tied


def _quoted(store: Store, study: StudyRow, limits: Mapping[str, float], asked: Asked) -> tuple[pd.DataFrame, str, list[str]]:
    book = _book(study, asked.prices)
    terms = terms_of(study, Slo.parse(dict(limits)), book, None)
    done = queries.trial_counts(store, study.id)
    trials = _curves(_Key(store), study.id, tuple(sorted(done.items())), terms.objectives[0].name)
    found = [quote(trial, terms, sized=study.request.get("demand") is not None) for trial in trials if trial.curve]
    rows = _ranked(found, terms)
    told = f"From the stored curves of {count(len(found), 'deployment')}; nothing was simulated again. "
    if len(found) < done.get("done", 0):
        told = told.replace("; nothing", f" of {done['done']:,}, those on the frontier and the best by price; nothing")
    best = next((row for row in rows if row[4] == 1), None)
    if best is None:
        told += "None of them keeps these limits."
    else:
        axis = axis_of(terms.objectives[0].name, {})
        value = axis.text(best[2].get(axis.name))
        name = f"{deployment_title(best[0].deployment)} (trial {best[0].number})"
        told += f"Best now: {name}, {value} at {number(best[1])} requests/s."
    outside = [f"Trial {q.trial.number}, {deployment_title(q.trial.deployment)}: {q.outside}" for q in found if q.outside]
    return explore_frame(rows, study), told, outside


def _ranked(found: Sequence[Quoted], terms: Terms) -> list[tuple[TrialRow, float, Mapping[str, Any], bool, int, bool]]:
    places = {(one.trial.number, index): place for place, (one, index) in enumerate(frontier(found, terms.objectives), 1)}
    rows: list[tuple[TrialRow, float, Mapping[str, Any], bool, int, bool]] = []
    for one in found:
        for index, point in enumerate(one.points):
            place = places.get((one.trial.number, index), 0)
            values = {objective.name: objective.value(point) for objective in terms.objectives}
            rows.append((one.trial, point.rate_rps, values, place > 0, place, False))
    return rows


def price_book(study: StudyRow) -> PriceBook | None:
    """Returns the price book of a study, None where it has none or one of a file that is not in the catalog."""
    name = study.request.get("prices")
    return catalog.price_book(name) if name in catalog.names("prices") else None


def _book(study: StudyRow, factors: Mapping[str, float]) -> PriceBook | None:
    book = price_book(study)
    if book is None:
        return None
    changed = []
    for each in book.instances:
        factor = factors.get(each.device, 1.0)
        prices = {name: getattr(each, name) for name in PRICES}
        changed.append(each.model_copy(update={name: price and price * factor for name, price in prices.items()}))
    return book.model_copy(update={"instances": tuple(changed)})


class _Key:
    """A store as a key of a cache: one and the same is the same."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __hash__(self) -> int:
        return id(self.store)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.store is self.store


@lru_cache(maxsize=4)
def _curves(key: _Key, study_id: str, counts: tuple[tuple[str, int], ...], objective: str) -> tuple[TrialRow, ...]:
    """Returns the trials that are quoted, kept while a slider moves; `counts` tells when more were scored."""
    minimize = axis_of(objective, {}).minimize
    numbers = sampled.contenders(key.store, study_id, objective, minimize, MOST_QUOTED)
    return tuple(sampled.with_curves(key.store, study_id, numbers))


def rent_of(book: PriceBook, device: str) -> str:
    """Returns what a GPU of a device rents for by the cheapest instance of a book."""
    rents = [price / each.gpus for each in book.instances if each.device == device and (price := each.usd_per_hour(book.term))]
    return f"{usd(min(rents))} a GPU and hour" if rents else "not sold"
