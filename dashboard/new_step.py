"""Form and YAML of a new search in step: what an edit of either changes on the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dash import html, no_update

from dashboard import new_fields
from dashboard import request_form as form
from dashboard.parts import Content, warning
from dashboard.request_told import ELSEWHERE, Checked, checked
from simulator import catalog

PARTS = ("preset", "trace", "numbers")
# Addresses of more characters are refused by some proxies; what is longer is not kept in one.
LONGEST_ADDRESS = 6000


def elsewhere(wrong: Mapping[str, str]) -> Content:
    """Returns what is wrong beside the fields, and how many fields are to be mended; None where all is well."""
    if wrong.get(ELSEWHERE):
        return warning(wrong[ELSEWHERE])
    count = len(wrong)
    return html.P(f"{count} field{'s' if count > 1 else ''} to mend, marked in the form.", className="wrong") if wrong else None


def kept(document: Mapping[str, Any]) -> Content:
    """Returns what the form has no field for, in a line."""
    beyond = form.not_shown(document)
    if not beyond:
        return None
    return html.P(["Kept as it is, since the form has no field for it: ", html.Code(", ".join(beyond))], className="caption")


def in_fold(wrong: Mapping[str, str]) -> bool:
    """Returns whether a field in the fold is wrong."""
    folded = {"engine", "sampler", "seed", *(f"knob.{name}" for name in form.KNOBS if name not in new_fields.FRONT)}
    return any(name in folded for name in wrong)


def edited(text: str, changed: Mapping[str, Any], values: Mapping[str, Any]) -> form.Document:
    """Returns the document after some fields of the form have changed; raises InputError while the YAML is broken."""
    document = form.document_of(text)
    told = {name: clean(name, value) for name, value in changed.items()}
    if "traffic" in told:
        told |= {name: values[name] for name in form.TRAFFIC if name not in told}
    return form.write(document, told)


def clean(name: str, value: Any) -> Any:
    """Returns what a control sent as `request_form` has it: whole numbers as such, no list that is None."""
    if isinstance(value, float) and value == int(value) and not name.startswith("slo."):
        return int(value)
    if value is None and (name == "objectives" or name.startswith("knob.")):
        return [] if name == "objectives" or form.is_chosen(name.removeprefix("knob.")) else ""
    return value


def broken(line: str) -> dict[str, Any]:
    """Returns an answer that changes nothing but what is said; nothing can be sent."""
    more = dict.fromkeys(("kept", "workload", "address", "fold"), no_update)
    return {
        "values": dict.fromkeys(form.FIELDS, no_update),
        "text": no_update,
        "wrong": dict.fromkeys(new_fields.WITH_LINE, no_update),
        "hidden": dict.fromkeys(PARTS, no_update),
        "more": {**more, "elsewhere": warning(line), "request": None},
    }


def answer(document: form.Document, text: str, values: Mapping[str, Any], workload: Any, by_form: bool) -> dict[str, Any]:
    """Returns what the page is to show of an edited document, by output of the callback; `values` are what it shows now."""
    found: Checked = checked(document)
    now = form.read(document)
    plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
    work = plain.get("workload")
    return {
        "values": {
            # What the browser has in a list of choices it would take away again unless it is one of them.
            name: no_update if by_form or clean(name, values[name]) == now[name] or not _is_choice(name, now) else now[name]
            for name in form.FIELDS
        },
        "text": text if by_form else no_update,
        "wrong": {name: found.wrong.get(name, "") for name in new_fields.WITH_LINE},
        "hidden": {kind: now["traffic"] != kind for kind in PARTS},
        "more": {
            "elsewhere": elsewhere(found.wrong),
            "kept": kept(document),
            "request": plain if found.request is not None else None,
            "workload": no_update if work == workload else work,
            "address": {"yaml": text} if len(text) < LONGEST_ADDRESS else {},
            "fold": True if in_fold(found.wrong) else no_update,
        },
    }


def _is_choice(name: str, now: form.Values) -> bool:
    """Returns whether a control can show the value that the YAML has."""
    known = _known(name)
    given = now[name] if isinstance(now[name], list) else [now[name]]
    return known is None or all(each in known for each in given if each is not None)


def _known(name: str) -> tuple[str, ...] | None:
    kinds = {"model": "models", "engine": "engines", "prices": "prices", "preset": "workloads"}
    kinds |= {"knob.device": "devices", "knob.scheduler": "schedulers", "knob.router": "routers"}
    if name in kinds:
        return catalog.names(kinds[name])
    if name in ("objectives", "sampler"):
        return new_fields.names_of(name)
    if name == "traffic":
        return form.ORIGINS[:-1]
    knob = name.removeprefix("knob.")
    return form.choices(knob) if knob != name and form.is_chosen(knob) else None
