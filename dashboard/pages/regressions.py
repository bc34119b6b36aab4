"""Regressions: the nights of a suite, what changed and why, the trend of every pinned case, and how accurate we are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dash import html
from dash.development.base_component import Component

from dashboard.figures import trend
from dashboard.parts import Content, badge, chart, facts, link, section, table
from dashboard.report.tables import Cell
from dashboard.view import View
from dashboard.words import ABSENT, count
from db import sweeps
from db.sweep_rows import BaselineRow, SweepCaseRow, SweepRunRow
from db.sweeps import Night

TITLE, PATH, NAV = "Regressions", "/regressions", 8
NIGHTS, CHARTS, LINES, FINDINGS = 60, 12, 4, 12
VERDICTS = {"same": "done", "changed": "failed", "first": "queued"}
# Of a case's numbers those that a trend is about; of a search all but each deployment's own capacity.
TOLD = ("capacity_rps", "usd_per_million_output_tokens", "ttft_p99_s", "itl_p99_s")


def layout(view: View) -> Component:
    """Returns the nights of the suite in the address, else of the one that ran last."""
    newest = sweeps.runs(view.store, 1)
    if not newest:
        return html.Div([html.H1(TITLE), _empty()])
    suite = view.query.get("suite") or newest[0].suite
    runs = sweeps.runs(view.store, NIGHTS, suite=suite)
    if not runs:
        return html.Div([html.H1(TITLE), section("None", html.P("No suite of that name was ever run."))])
    shown = next((run for run in runs if run.id == view.query.get("run")), runs[0])
    cases = sweeps.cases(view.store, shown.id)
    nights = sweeps.trends(view.store, suite, [case.name for case in cases], NIGHTS)
    return html.Div(
        [
            html.Div([html.H1(TITLE), _suites(view, suite)], className="row apart"),
            _run(shown),
            _changes(shown, cases),
            section(
                "Trends", *_trends(cases, nights), caption="Numbers of each pinned case, as a change since the first night shown."
            ),
            _accuracy(cases, nights),
            _nights(view, runs, shown),
            _approvals(sweeps.baselines(view.store, suite)),
        ]
    )


def _empty() -> Component:
    told = html.Code("trimtab sweep examples/nightly.yaml")
    return html.Section([html.H2("No suite has been run yet"), html.P(["A night is made by ", told, "."])], className="empty")


def _suites(view: View, suite: str) -> Content:
    names = sweeps.suites(view.store)
    if len(names) < 2:
        return html.Bdi(suite)
    return html.Div([link(name, view.address(suite=name, run=None), "button quiet") for name in names], className="row")


def _run(run: SweepRunRow) -> Component:
    summary = run.summary
    against = f"{run.baseline}, run {run.baseline_run}" if run.baseline_run else f"no run is {run.baseline} yet"
    pairs: list[tuple[str, Content]] = [
        ("Run", html.Div([run.id, " ", badge(run.verdict, VERDICTS.get(run.verdict, ""))])),
        ("When", _moment(run.created_at)),
        ("Baseline", against),
        ("Changed", f"{len(summary.get('changed', ()))} of {count(int(summary.get('cases', 0)), 'case')}"),
        ("Seeds", f"shifted by {run.seed_shift:,}" if run.seed_shift else "pinned"),
        ("Host", run.host),
    ]
    return section("This night", facts(pairs))


def _changes(run: SweepRunRow, cases: Sequence[SweepCaseRow]) -> Component:
    changed = [case for case in cases if case.findings]
    if not changed:
        said = "Nothing has been approved to compare with." if run.baseline_run is None else "Every case is as in the baseline."
        return section("What changed, and why", html.P(said), name="changes")
    return section("What changed, and why", *map(_change, changed), name="changes")


def _change(case: SweepCaseRow) -> Component:
    found = [html.Li(finding["sentence"]) for finding in case.findings[:FINDINGS]]
    if len(case.findings) > FINDINGS:
        found.append(html.Li(f"and {len(case.findings) - FINDINGS} more"))
    why = [html.Li(_cause(cause)) for cause in case.causes[:FINDINGS]] or [html.Li("no digest of what it rests on differs")]
    return html.Div([html.H3(html.Bdi(case.name)), html.Ul(found), html.P("Why:", className="label"), html.Ul(why)])


def _cause(cause: dict[str, object]) -> str:
    put_back = (
        f" (put back, {cause['explains']} of {cause['of']} numbers are as they were)" if cause.get("explains") is not None else ""
    )
    return f"{cause['sentence']}{put_back}"


def _trends(cases: Sequence[SweepCaseRow], nights: dict[str, list[Night]]) -> list[Component]:
    parts: list[Component] = []
    for place, case in enumerate(case for case in cases if case.kind != "accuracy"):
        lines = {name: _line(nights[case.name], name) for name in _told(case)}
        if not lines or len(parts) >= CHARTS:
            continue
        alarms = [night.run.created_at for night in nights[case.name] if night.case.findings]
        drawing = trend.changes(lines, alarms)
        parts.append(html.Div([html.H3(html.Bdi(case.name)), chart(f"trend-{place}", drawing, f"Trend of {case.name}")]))
    return parts or [html.P("No case of this night has a number to follow.")]


def _told(case: SweepCaseRow) -> list[str]:
    if case.kind == "prices":
        return []
    if case.kind in ("search", "engine"):
        return [name for name in case.numbers if not name.startswith("capacity_rps of ")][:LINES]
    return [name for name in TOLD if name in case.numbers][:LINES]


def _line(nights: Sequence[Night], name: str) -> list[tuple[datetime, float]]:
    return [(night.run.created_at, night.case.numbers[name]["value"]) for night in nights if name in night.case.numbers]


def _accuracy(cases: Sequence[SweepCaseRow], nights: dict[str, list[Night]]) -> Component:
    sets = [case for case in cases if case.kind == "accuracy"]
    parts: list[Content] = []
    for place, case in enumerate(sets):
        if case.state != "done":
            parts.append(html.P(f"{case.name}: not scored, {case.reason}"))
            continue
        lines = {name: _line(nights[case.name], name) for name in list(case.numbers)[:LINES]}
        parts += [chart(f"accuracy-{place}", trend.errors(lines), f"Errors of {case.name}"), _errors(case)]
    return section(
        "Are we accurate?",
        *(parts or [html.P("The suite scores no measured set.")]),
        caption="Error against measured sets: followed here, and failing nothing.",
        name="accuracy",
    )


def _errors(case: SweepCaseRow) -> Component:
    rows: list[list[Content]] = [
        [name, f"{each['n']:,}", f"{each['value']:.1%}", f"{each['p90']:.1%}", f"{each['bias']:+.1%}"]
        for name, each in case.numbers.items()
    ]
    columns = [Cell("Set and metric"), Cell("Cases"), Cell("Median error"), Cell("90th percentile"), Cell("Bias")]
    return table(columns, rows, f"Errors of {case.name}", numbers=(1, 2, 3, 4))


def _nights(view: View, runs: Sequence[SweepRunRow], shown: SweepRunRow) -> Component:
    rows: list[list[Content]] = []
    for run in runs:
        here = html.Strong(run.id) if run.id == shown.id else link(run.id, view.address(suite=run.suite, run=run.id))
        changed = ", ".join(run.summary.get("changed", ())) or ABSENT
        rows.append([here, _moment(run.created_at), badge(run.verdict, VERDICTS.get(run.verdict, "")), changed])
    return section("Nights", table([Cell("Run"), Cell("When"), Cell("Predictions"), Cell("Changed")], rows, "Nights"))


def _approvals(found: Sequence[BaselineRow]) -> Component | None:
    rows: list[list[Content]] = [
        [each.name, each.run_id, each.reason, each.approved_by, _moment(each.approved_at)] for each in found
    ]
    if not rows:
        return None
    return section("Baselines", table([Cell("Name"), Cell("Run"), Cell("Reason"), Cell("By"), Cell("When")], rows, "Baselines"))


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
