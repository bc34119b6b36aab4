"""The part of a trial's page that runs it: an engine's script, documents of platforms, and a load test of what is claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.parts import section
from db.rows import StudyRow, TrialRow
from deploy.launch import launcher
from deploy.platforms import Placed, platform
from deploy.platforms import names as platforms
from simulator.errors import TrimtabError
from simulator.spec.deployment import Resolved

# In the order in which people look for them.
ENGINES = ("vllm", "sglang", "tensorrt_llm", "torch")


def commands(study: StudyRow, trial: TrialRow) -> Component:
    """Returns the commands and downloads; what an engine or a platform cannot be told stands in place of its own."""
    at = f"/api/v1/studies/{study.id}/trials/{trial.number}"
    deployment = Resolved.parse(trial.deployment)
    rows, able = list[Component](), list[str]()
    for place, engine in enumerate(ENGINES):
        reason = refusal(lambda engine=engine: launcher(engine).arguments(deployment, deployment.model, 8000))  # type: ignore[misc]
        line = f"trimtab launch {study.id} {trial.number} --engine {engine}"
        if reason is not None:
            rows.append(html.Div([html.B(engine), html.Span(reason, className="caption")], className="copied"))
            continue
        able.append(engine)
        told = html.Code(line, id=f"trial-command-{place}")
        script = html.A("Script", href=f"{at}/launch/{engine}", className="button", id=f"trial-script-{engine}")
        rows.append(html.Div([told, dcc.Clipboard(content=line, title="Copy"), script], className="copied"))
    return section(
        "Run it",
        *rows,
        *(html.Div(list(_documents(at, engine, deployment)), className="row") for engine in able[:1]),
        html.Div(
            [
                html.Span("What it was scored with, sent to whatever serves it", className="caption"),
                html.A("Load test", href=f"{at}/load-test", className="button", id="trial-load-test"),
            ],
            className="row",
        ),
        caption="Each command prints the script that serves one replica of this deployment on an engine.",
    )


def _documents(at: str, engine: str, deployment: Resolved) -> Iterator[Component]:
    """Yields a link for each platform that runs all replicas on an engine, or why it cannot."""
    yield html.Span(f"All replicas on {engine}, as YAML for", className="caption")
    command = tuple(launcher(engine).arguments(deployment, deployment.model, 8000, host="0.0.0.0"))
    for name in platforms():
        where = platform(name)
        if engine not in where.ENGINES or (where.IMAGES is not None and engine not in where.IMAGES):
            continue
        placed = Placed("trimtab", command, 8000, "image")
        reason = refusal(lambda where=where, placed=placed: where.documents(deployment, placed))  # type: ignore[misc]
        if reason is None:
            yield html.A(name, href=f"{at}/launch/{engine}?on={name}", className="button", id=f"trial-on-{name}")
        else:
            yield html.Span(f"{name}: {reason}", className="caption")


def refusal(attempt: Callable[[], object]) -> str | None:
    """Returns why something cannot be written, None where it can."""
    try:
        attempt()
    except TrimtabError as error:
        return str(error)
    return None
