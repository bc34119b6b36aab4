"""A run in Markdown, for the summary of a CI job or the text of an issue: two reports under headings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICTS = {
    "first": "nothing to compare with yet",
    "same": "predictions are those of the baseline",
    "changed": "predictions changed",
}
SHOWN = 12


def text(document: Mapping[str, Any]) -> str:
    """Returns the summary of a run's document."""
    lines = [f"# {_plain(document['suite'])}: {VERDICTS.get(document['verdict'], document['verdict'])}", "", _head(document), ""]
    lines += ["## Did predictions change?", "", *_predictions(document), "## Are we accurate?", "", *_accuracy(document)]
    return "\n".join(lines).rstrip() + "\n"


def _head(document: Mapping[str, Any]) -> str:
    against = f"baseline `{document['baseline']}`"
    against += f" (run `{document['baseline_run']}`)" if document["baseline_run"] else ", which no run bears yet"
    seeds = f", seeds shifted by {document['seed_shift']}" if document["seed_shift"] else ""
    seconds = document["summary"]["seconds"]
    return f"Run `{document['id']}` of {document['created_at'][:16]} UTC, against {against}{seeds}; {seconds:.1f} s."


def _predictions(document: Mapping[str, Any]) -> list[str]:
    lines = ["| case | kind | answer |", "|---|---|---|"]
    lines += [f"| {_plain(case['name'])} | {case['kind']} | {_answer(case)} |" for case in document["predictions"]]
    lines.append("")
    for case in document["predictions"]:
        if case["findings"]:
            lines += [f"### {_plain(case['name'])}", ""]
            lines += [f"- {_plain(finding['sentence'])}" for finding in case["findings"][:SHOWN]]
            more = len(case["findings"]) - SHOWN
            lines += [f"- and {more} more"] if more > 0 else []
            lines += ["", f"Why: {_plain(case['why'])}.", ""]
    if document["summary"]["left_out"]:
        lines += [f"No longer in the suite: {_plain(', '.join(document['summary']['left_out']))}.", ""]
    return lines


def _answer(case: Mapping[str, Any]) -> str:
    if case["findings"]:
        count = len(case["findings"])
        return f"**changed** ({count} finding{'s' if count > 1 else ''})"
    if case["state"] != "done":
        return f"{case['state']}: {_plain(str(case['reason']))}"
    return "new" if is_new(case) else "same"


def is_new(case: Mapping[str, Any]) -> bool:
    """Returns whether there was nothing to compare a case with."""
    return any(note["kind"] == "new" for note in case["notes"])


def _accuracy(document: Mapping[str, Any]) -> list[str]:
    if not document["accuracy"]:
        return ["The suite scores no measured set.", ""]
    lines = ["Tracked; fails nothing.", "", "| set and metric | cases | median error | mean | 90th percentile | bias |"]
    lines.append("|---|---|---|---|---|---|")
    for case in document["accuracy"]:
        if not case["scored"]:
            lines.append(f"| {_plain(case['name'])} | | not scored: {_plain(case['reason'])} | | | |")
        for name, error in case["errors"].items():
            shares = [f"{error['value']:.1%}", f"{error['mean']:.1%}", f"{error['p90']:.1%}", f"{error['bias']:+.1%}"]
            lines.append(f"| {_plain(name)} | {error['n']} | {' | '.join(shares)} |")
    return [*lines, ""]


def _plain(words: str) -> str:
    """Returns the text on one line, with nothing that Markdown or HTML would take for its own."""
    text = " ".join(str(words).split())
    for each in "\\`*_{}[]<>|#":
        text = text.replace(each, f"\\{each}") if each != "<" else text.replace("<", "&lt;")
    return text
