"""The offline page of a study: one HTML file that asks no host for anything.

`page.html` is the template, which escapes all that it is given; `page.css` and `page.js` are inlined into it, as is
plotly.js. A content security policy lets only these scripts run, by their hashes, and nothing be fetched.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dashboard.report.page import render
from db.rows import StudyRow, TrialPoint, TrialRow, ValidationRow
from simulator.errors import InputError

FIELD = "--html"


def write_report(
    path: Path,
    study: StudyRow,
    trials: Sequence[TrialRow],
    points: Sequence[TrialPoint],
    validated: Sequence[tuple[int, ValidationRow]] = (),
) -> None:
    """Writes the page of a study to `path`, whole or not at all; raises InputError under `--html` when it cannot be written."""
    if path.is_dir():
        raise InputError(FIELD, str(path), "a file; this is a folder")
    text = render(study, trials, points, validated)
    try:
        _replace(path, text)
    except OSError as error:
        raise InputError(FIELD, str(path), f"a file that can be written ({error.strerror or error})") from None


def _replace(path: Path, text: str) -> None:
    # Beside its target, since a rename is atomic only within one file system.
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
