"""Digests of what an answer rests on, by cause: code, profile, price, workload, engine, deployment, catalog, suite.

Each entry is a mapping with `digest`, and beside it what makes a difference legible: the mean of an operator's times, an
hour's dollars, the mean lengths of the traffic. `asked` is the digest of the shapes that an operator was priced at: the
times of other shapes are other times, and say nothing about the profile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from search.answers import versions
from simulator import catalog
from simulator.optime.operators import Floats, Ints, Operator
from simulator.optime.provenance import Priced
from simulator.run import Prepared
from simulator.spec.deployment import Resolved
from simulator.spec.prices import PriceBook
from simulator.traffic import Traffic

CAUSES = ("suite", "deployment", "engine", "catalog", "profile", "price", "workload", "code")
Digests = dict[str, dict[str, Any]]
SIMULATOR, SEARCH = Path(catalog.__file__).parent, Path(__file__).parents[1]
# What is told apart by name, and what no answer depends on.
APART = ("kernel", "schedulers", "routers", "accuracy", "data")
# What a whole iteration costs where one source prices it as a whole: its tables, and what they are read by.
KNOTS: Mapping[str, tuple[str, ...]] = {
    "token_s": (),
    "sample_s": (),
    "decode_s": ("decode_batch", "decode_kv"),
    "prefill_s": ("prefill_chunk", "prefill_kv"),
}


class Heard:
    """Sees the times of every operator on their way into a price list: digests of shapes and times, sum and count by name."""

    def __init__(self) -> None:
        self._asked: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        self.sums: dict[str, float] = {}
        self.points: dict[str, int] = {}

    def __call__(self, operator: Operator, priced: Priced) -> Priced:
        """Returns the times as they are."""
        asked = self._asked.setdefault(operator.name, hashlib.sha256())
        for field in fields(operator):
            value = getattr(operator, field.name)
            asked.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        state = self._states.setdefault(operator.name, hashlib.sha256())
        state.update(np.ascontiguousarray(priced.seconds, dtype=np.float64).tobytes())
        self.sums[operator.name] = self.sums.get(operator.name, 0.0) + float(priced.seconds.sum())
        self.points[operator.name] = self.points.get(operator.name, 0) + priced.seconds.size
        return priced

    def told(self, prepared: Prepared) -> dict[str, Any]:
        """Returns the entry of each operator, and of the host's times; of whole iterations, that of each of their tables."""
        origins, prices = prepared.provenance.operators, prepared.price_list
        if not self._states:
            return {name: _table(getattr(prices, name), [getattr(prices, knots) for knots in KNOTS[name]]) for name in KNOTS}
        found = {}
        for name, state in self._states.items():
            origin = origins.get(name)
            mean = self.sums[name] / max(self.points[name], 1)
            found[name] = {
                "digest": state.hexdigest()[:16],
                "asked": self._asked[name].hexdigest()[:16],
                "mean_s": mean,
                "source": origin.source if origin else None,
            }
        found["host"] = _table(np.concatenate([prices.floor_s, prices.extra_s]))
        return found


def _table(seconds: Floats, knots: Sequence[Ints] = ()) -> dict[str, Any]:
    data = np.ascontiguousarray(seconds, dtype=np.float64)
    return {
        "digest": hashlib.sha256(data.tobytes()).hexdigest()[:16],
        "asked": of_value([data.shape, *(each.tolist() for each in knots)]),
        "mean_s": float(data.mean()) if data.size else 0.0,
    }


def same_shapes(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether two entries of an operator were priced at the same shapes, so that their times can be compared."""
    return one.get("asked") is None or other.get("asked") is None or one["asked"] == other["asked"]


def of_value(value: object) -> str:
    """Returns the digest of anything that JSON holds."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def of_code(schedulers: Iterable[str], routers: Iterable[str], *, searching: bool = False) -> dict[str, Any]:
    """Returns the entries of the kernel, the named policies, the rest of the simulator, and the packages that compute."""
    found = {"kernel": _files(tuple(sorted((SIMULATOR / "kernel").glob("*.py"))))}
    for kind, names in (("schedulers", schedulers), ("routers", routers)):
        for name in sorted(set(names)):
            path = Path(str(catalog.module(kind, name, kind).__file__))
            found[f"{kind.removesuffix('s')} {name}"] = _files((path, *sorted(path.parent.glob("_[a-z]*.py"))), cached=False)
    found["simulator"] = _files(tuple(p for p in sorted(SIMULATOR.rglob("*.py")) if p.relative_to(SIMULATOR).parts[0] not in APART))
    folders = ("samplers", "objectives", "executor") if searching else ()
    found["search"] = _files(tuple(sorted([*SEARCH.glob("*.py"), *(p for name in folders for p in (SEARCH / name).glob("*.py"))])))
    packages = {
        name: number for name, number in versions().items() if name in ("numba", "numpy", *(("optuna",) if searching else ()))
    }
    return {name: {"digest": each} for name, each in found.items()} | {
        f"package {name}": {"digest": number} for name, number in packages.items()
    }


def _files(paths: Sequence[Path], cached: bool = True) -> str:
    return _read_once(tuple(paths)) if cached else _read(paths)


@cache
def _read_once(paths: tuple[Path, ...]) -> str:
    return _read(paths)


def _read(paths: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for path in paths:
        state.update(path.name.encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


def of_catalog(deployments: Iterable[Resolved]) -> Digests:
    """Returns the entries of the engines' profiles, and of the models' and devices' data sheets."""
    found: Digests = {"engine": {}, "catalog": {}}
    for each in deployments:
        found["engine"][each.engine] = {"digest": of_value(catalog.engine(each.engine).model_dump(mode="json"))}
        found["catalog"][f"model {each.model}"] = {"digest": of_value(catalog.model(each.model).model_dump(mode="json"))}
        found["catalog"][f"device {each.device}"] = {"digest": of_value(catalog.device(each.device).model_dump(mode="json"))}
    return found


def of_book(name: str | None, book: PriceBook | None, devices: Iterable[str]) -> dict[str, Any]:
    """Returns an entry for each price that may decide a bill on these devices, and for how the book packs."""
    if name is None or book is None:
        return {}
    of, shown = set(devices), Path(name).name
    found: dict[str, Any] = {f"{shown}: packing": {"digest": f"{book.packing}, {book.term}"}}
    for offer in book.instances:
        price = offer.usd_per_hour(book.term)
        if offer.device in of and price is not None:
            key = f"{shown}: {offer.provider} {offer.name}, {offer.device}"
            found[key] = {"digest": of_value([price, offer.gpus]), "usd_per_hour": price}
    return found


def of_traffic(drawn: Sequence[Traffic]) -> dict[str, Any]:
    """Returns the entry of the requests themselves; the content of prefixes counts by the notes on it."""
    state = hashlib.sha256()
    for traffic in drawn:
        for name in ("arrival_s", "prompt_tokens", "output_tokens", "priority", "class_of", "session", "after", "think_s"):
            state.update(np.ascontiguousarray(getattr(traffic, name)).tobytes())
    return {"requests": {"digest": state.hexdigest()[:16]}}


def of_deployment(deployment: Resolved) -> dict[str, Any]:
    """Returns the entry of every knob as it was resolved."""
    return {name: {"digest": of_value(value), "value": value} for name, value in deployment.model_dump(mode="json").items()}


def of_suite(pins: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of what the suite itself says of a case."""
    return {name: {"digest": of_value(value), "value": value} for name, value in pins.items()}
