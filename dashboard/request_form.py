"""The form of a new search: what its fields show of a request, and the request that its fields say. Pure functions.

The request's document is the truth. `read` shows it as one value a field; `write` puts values into it and leaves what the
form cannot show as it is; `not_shown` names that. A value that is as the document has it already changes nothing there, so
that the spelling of whoever wrote the YAML stays.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import yaml

from dashboard.knob_text import scalar_text, text_of, value_of
from search.request import Budget, SearchRequest
from search.space import knobs
from simulator.spec.base import yaml_mapping, yaml_scalar
from simulator.spec.deployment import Deployment
from simulator.spec.slo import LATENCIES, STATISTICS

Document = dict[str, Any]
Values = dict[str, Any]
YAML = "yaml"
# Knobs whose one value is a list cannot be told from several values in a line of text.
LISTS = frozenset({"pp_layer_partition"})
NAMED = ("device", "scheduler", "router")
KNOBS = tuple(name for name in knobs() if name not in LISTS)
ENDS = ("median", "sigma", "max")
LENGTHS = ("prompt", "output")
ORIGINS = ("preset", "trace", "numbers", YAML)
TRAFFIC = ("traffic", "preset", "trace", *(f"{kind}.{end}" for kind in LENGTHS for end in ENDS))
_HIDDEN: Values = {"preset": "chat", "trace": None, "prompt.median": 1000, "output.median": 200}


def choices(knob: str) -> tuple[str, ...]:
    """Returns the texts of a knob's values where there are a few that are known; nothing for numbers and names of the catalog."""
    annotation = Deployment.model_fields[knob].annotation
    found: list[str] = []
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            found += [str(each) for each in get_args(part)]
        elif part is bool:
            found += ["false", "true"]
    return tuple(dict.fromkeys(found))


def is_chosen(knob: str) -> bool:
    """Returns whether a knob's values are chosen from a list, and not typed."""
    return knob in NAMED or bool(choices(knob))


PLAIN: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "model": ("model",),
    "engine": ("engine",),
    "prices": ("prices",),
    "rate": ("demand", "rate_rps"),
    "max_gpus": ("budget", "max_gpus"),
    "trials": ("budget", "trials"),
    "sampler": ("sampler",),
    "seed": ("seed",),
}
NUMBERS = frozenset({"rate", "max_gpus", "trials", "seed"})
_DEFAULTS: Values = {
    "engine": SearchRequest.model_fields["engine"].default,
    "max_gpus": Budget().max_gpus,
    "trials": Budget().trials,
    "sampler": SearchRequest.model_fields["sampler"].default,
    "seed": SearchRequest.model_fields["seed"].default,
}
SLO = tuple(name for each in LATENCIES for name in (f"slo.{each}", f"slo.{each}.statistic"))
FIELDS = (*PLAIN, *TRAFFIC, *SLO, "objectives", *(f"knob.{name}" for name in KNOBS))


def document_of(text: str) -> Document:
    """Returns the document in a YAML text; raises InputError under `yaml`, with the line, for a broken one."""
    return yaml_mapping(text, YAML, "the text")


def yaml_of(document: Mapping[str, Any]) -> str:
    """Returns a document as the YAML that people write: leaves in one line, in the order of the document."""
    return str(yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=None, allow_unicode=True, width=42))


def read(document: Mapping[str, Any]) -> Values:
    """Returns what the form's fields show of a document: every field of FIELDS, None or empty where there is nothing."""
    plain = {name: _plain(document, name) for name in PLAIN}
    objectives = _strings(document.get("objectives", list(SearchRequest.model_fields["objectives"].default)))
    slo = {name: value for latency in LATENCIES for name, value in _bound(document, latency).items()}
    space = {f"knob.{name}": _knob(document, name) for name in KNOBS}
    return {**plain, **_traffic(document), **slo, "objectives": objectives, **space}


def write(document: Mapping[str, Any], values: Mapping[str, Any]) -> Document:
    """Returns the document with the fields in `values`, of FIELDS, as they say; all else stays as it was."""
    before = read(document)
    return _written(document, {name: value for name, value in values.items() if value != before[name]}, before)


def _written(document: Mapping[str, Any], values: Mapping[str, Any], before: Values) -> Document:
    new: Document = copy.deepcopy(dict(document))
    whole = {**before, **values}
    for name in PLAIN:
        if name in values:
            _put(new, PLAIN[name], values[name] if values[name] != "" else None)
    if any(name in values for name in TRAFFIC):
        _put_traffic(new, whole)
    for latency in LATENCIES:
        if f"slo.{latency}" in values or f"slo.{latency}.statistic" in values:
            _put_bound(new, latency, whole)
    if "objectives" in values:
        new["objectives"] = list(values["objectives"])
    for name in KNOBS:
        if f"knob.{name}" in values:
            _put(new, ("space", name), _knob_value(values[f"knob.{name}"]), may_be_null=True)
    return new


def not_shown(document: Mapping[str, Any]) -> list[str]:
    """Returns the paths of what the form does not show of a document; `write` keeps it."""
    values = read(document)
    shown = _written({}, values, read({}))
    return sorted(path for path in _beyond(document, shown) if path)


def _beyond(document: Mapping[Any, Any], shown: Mapping[Any, Any], at: str = "") -> Iterable[str]:
    for name, value in document.items():
        path = f"{at}.{name}".lstrip(".")
        if name not in shown:
            yield path
        elif isinstance(value, Mapping) and isinstance(shown[name], Mapping):
            yield from _beyond(value, shown[name], path)
        elif isinstance(value, Mapping) != isinstance(shown[name], Mapping) and value != {"fixed": shown[name]}:
            yield path


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(document: Mapping[str, Any], name: str) -> Any:
    *above, last = PLAIN[name]
    place = document
    for part in above:
        place = _mapping(place.get(part))
    value = place.get(last)
    if value is None:
        return _DEFAULTS.get(name)
    if name in NUMBERS:
        return _number(value)
    return value if isinstance(value, str) else None


def _put(document: Document, path: tuple[str, ...], value: Any, may_be_null: bool = False) -> None:
    """Puts a value at a path, or takes away what is there, with the mapping that it leaves empty."""
    *above, last = path
    places = [document]
    for part in above:
        below = places[-1].get(part)
        if not isinstance(below, dict):
            below = places[-1][part] = {}
        places.append(below)
    if value is _NOTHING or (value is None and not may_be_null):
        places[-1].pop(last, None)
        if above and not places[-1] and path[0] != "space":
            places[-2].pop(above[-1])
    else:
        places[-1][last] = value


_NOTHING = object()


def _traffic(document: Mapping[str, Any]) -> Values:
    work = _mapping(document.get("workload"))
    drawn = "prompt_tokens" in work or "output_tokens" in work
    kind = "trace" if "trace" in work else "numbers" if drawn else "preset" if "preset" in work or not work else YAML
    found: Values = {**dict.fromkeys(TRAFFIC), **_HIDDEN, "traffic": kind}
    if kind in ("trace", "preset"):
        found[kind] = work.get(kind) if isinstance(work.get(kind), str) else None
    if kind == "numbers":
        for each in LENGTHS:
            found.update({f"{each}.{end}": value for end, value in _length(work.get(f"{each}_tokens")).items()})
    return found


def _length(value: object) -> dict[str, int | float | None]:
    """Returns a token count, or the parts of a lognormal one; nothing for other distributions."""
    if isinstance(value, Mapping) and set(value) == {"lognormal"}:
        inner = _mapping(value["lognormal"])
        if not set(inner) - set(ENDS) and all(_number(each) is not None for each in inner.values()) and set(inner) - {"median"}:
            return {end: inner.get(end) for end in ENDS}
        return dict.fromkeys(ENDS)
    if isinstance(value, Mapping) and set(value) == {"fixed"}:
        value = value["fixed"]
    return {"median": _number(value), "sigma": None, "max": None}


def _put_traffic(document: Document, values: Values) -> None:
    kind, work = values["traffic"], dict(_mapping(document.get("workload")))
    if kind == YAML:
        return
    keys = {"trace": ("trace",), "preset": ("preset",), "numbers": ("prompt_tokens", "output_tokens")}
    before = _traffic({"workload": work})
    rest = {name: value for name, value in work.items() if not any(name in each for each in keys.values())}
    if kind != "numbers":
        document["workload"] = {kind: values[kind], **rest}
        return
    made = {}
    for each in LENGTHS:
        same = before["traffic"] == kind and all(values[f"{each}.{end}"] == before[f"{each}.{end}"] for end in ENDS)
        told = {end: values[f"{each}.{end}"] for end in ENDS if values[f"{each}.{end}"] is not None}
        is_fixed = not set(told) - {"median"}
        made[f"{each}_tokens"] = work.get(f"{each}_tokens") if same else told.get("median") if is_fixed else {"lognormal": told}
    document["workload"] = {**made, **rest}


def _first(slo: Mapping[Any, Any], latency: str) -> str | None:
    """Returns the first bound on a latency that is a plain number."""
    terms = {f"{latency}_{statistic}_s" for statistic in STATISTICS}
    return next((name for name, limit in slo.items() if name in terms and _number(limit) is not None), None)


def _bound(document: Mapping[str, Any], latency: str) -> Values:
    slo = _mapping(document.get("slo"))
    term = _first(slo, latency)
    statistic = "p99" if term is None else term.split("_")[1]
    return {f"slo.{latency}": None if term is None else slo[term], f"slo.{latency}.statistic": statistic}


def _put_bound(document: Document, latency: str, values: Values) -> None:
    """Puts a bound in the place of the one that is shown; without a limit every bound on the latency goes."""
    slo = dict(_mapping(document.get("slo")))
    limit, new, old = values[f"slo.{latency}"], f"{latency}_{values[f'slo.{latency}.statistic']}_s", _first(slo, latency)
    terms = {f"{latency}_{statistic}_s" for statistic in STATISTICS}
    if limit is None:
        document["slo"] = {name: value for name, value in slo.items() if name not in terms}
        return
    found: Document = {}
    for name, value in slo.items():
        if name == old:
            found[new] = limit
        elif name != new:
            found[name] = value
    document["slo"] = found if old is not None else {**found, new: limit}


def _knob(document: Mapping[str, Any], name: str) -> Any:
    space = _mapping(document.get("space"))
    if not is_chosen(name):
        return (text_of(space[name]) or "") if name in space else ""
    given = space.get(name, [])
    texts = [scalar_text(each) for each in (given if isinstance(given, list | tuple) else [given])]
    return [] if None in texts else texts


def _knob_value(shown: Any) -> Any:
    if isinstance(shown, list):
        return [yaml_scalar(each) for each in shown] if shown else _NOTHING
    return value_of(shown) if shown.strip(" ,") else _NOTHING
