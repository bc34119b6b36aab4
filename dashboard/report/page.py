"""The page as text: what each section needs, put into the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dashboard.axis import Axis, axis_of
from dashboard.figures.theme import CONFIG, dark_for_light, ticks_of_scale
from dashboard.report.answer import answer_of
from dashboard.report.charts import charts_of
from dashboard.report.heading import heading_of
from dashboard.report.json_text import json_text
from dashboard.report.provenance import provenance_of
from dashboard.report.refusals import refusals_of
from dashboard.report.tables import frontier_table
from dashboard.report.validated import validated_of
from db.rows import StudyRow, TrialPoint, TrialRow, ValidationRow

FOLDER = Path(__file__).parent


def render(
    study: StudyRow,
    trials: Sequence[TrialRow],
    points: Sequence[TrialPoint],
    validated: Sequence[tuple[int, ValidationRow]] = (),
) -> str:
    """Returns the whole HTML document of a study; `validated` are its validations beside the numbers of their trials."""
    axes = axes_of(study)
    scripts = [Markup(get_plotlyjs()), Markup((FOLDER / "page.js").read_text(encoding="utf-8"))]
    template = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    return template.render(
        policy=_policy(scripts),
        style=Markup((FOLDER.parent / "assets" / "page.css").read_text(encoding="utf-8")),
        plotly=scripts[0],
        script=scripts[1],
        settings=json_text(_settings()),
        study=study,
        heading=heading_of(study, trials),
        answer=answer_of(study, trials, points, axes),
        charts=charts_of(study, trials, points, axes),
        table=frontier_table(study, points, axes),
        refusals=refusals_of(study, trials),
        validated=validated_of(trials, validated),
        provenance=provenance_of(study, trials),
    )


def axes_of(study: StudyRow) -> list[Axis]:
    """Returns the axes of the study's objectives in the request's order."""
    slo = study.request.get("slo") or {}
    return [axis_of(name, slo) for name in study.request["objectives"]]


def _settings() -> dict[str, object]:
    """Returns what the page's script needs to know."""
    scales = {kind: ticks_of_scale(kind) for kind in ("log", "linear")}
    return {"config": CONFIG, "dark": dark_for_light(), **scales}


def _policy(scripts: Sequence[str]) -> str:
    """Returns a content security policy that runs these scripts only and fetches nothing."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    sources = f"script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
