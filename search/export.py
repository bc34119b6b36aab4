"""A study as a file: rows for a spreadsheet, one JSON document, or a report for a browser."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from db.rows import StudyRow, TrialPoint, TrialRow, ValidationRow
from search import documents
from search.output import as_json, target
from simulator.errors import MISSING, InputError

# Validations beside the numbers of their trials.
Validated = Sequence[tuple[int, ValidationRow]]
KINDS = ("csv", "json", "html")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
CHOICES = "one of --csv, --json and --html"


def kind_of(asked: Mapping[str, bool], file: Path | None) -> str:
    """Returns the kind that an option asks for, else that of the file's ending; raises InputError when it is not clear."""
    kinds = [kind for kind in KINDS if asked[kind]]
    if len(kinds) > 1:
        raise InputError("--" + kinds[1], f"with --{kinds[0]}", CHOICES)
    ending = "" if file is None else file.suffix.lower().removeprefix(".")
    if kinds and ending in KINDS and ending != kinds[0]:
        raise InputError(
            "FILE", str(file), f"with --{kinds[0]} a name that ends in .{kinds[0]}, or in none of .csv, .json and .html"
        )
    kind = kinds[0] if kinds else ending
    if kind not in KINDS:
        raise InputError("FILE", MISSING if file is None else str(file), f"{CHOICES}, or a name that ends in .csv, .json or .html")
    if kind == "html" and file is None:
        raise InputError("FILE", MISSING, "the name of a file after --html")
    return kind


def write(
    kind: str,
    file: Path | None,
    study: StudyRow,
    trials: Sequence[TrialRow],
    points: Sequence[TrialPoint],
    validated: Validated = (),
) -> None:
    """Writes a study to `file`, or to standard output where it is None; raises InputError when it cannot be written."""
    if kind == "html":
        assert file is not None, "kind_of asked for it"
        _write_report(file, study, trials, points, validated)
        return
    content = text(kind, study, trials, points, validated)
    if file is None:
        sys.stdout.write(content)
        return
    with target(file, "FILE") as out:
        out.write(content)


def text(kind: str, study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], validated: Validated = ()) -> str:
    """Returns a study as the text of a file of a kind; a report shows what was validated too."""
    if kind == "html":
        from dashboard.report.page import render

        return render(study, trials, points, validated)
    return _csv(trials, points) if kind == "csv" else as_json(documents.whole(study, trials, points)) + "\n"


def _csv(trials: Sequence[TrialRow], points: Sequence[TrialPoint]) -> str:
    rows = documents.rows(trials, points)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else list(documents.CSV_FIRST), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: inert(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def inert(value: object) -> object:
    """Returns a cell that no spreadsheet takes for a formula: text that begins like one has an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _write_report(
    file: Path, study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], validated: Validated
) -> None:
    try:
        from dashboard.report import write_report

        write_report(file, study, trials, points, validated)
    except OSError as error:
        raise InputError("FILE", str(file), f"a file that can be written ({error.strerror or error})") from None
