"""Where the command line's answers go: JSON and tables on standard output, files that the user names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from simulator.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 100


def console() -> Console:
    """Returns standard output for people: as wide as the terminal, else 100 columns without colours."""
    from rich.console import Console

    class Quiet(Console):
        """A console that leaves a broken pipe to whoever prints, instead of ending the process."""

        def on_broken_pipe(self) -> None:
            """Raises the error that is being handled."""
            raise

    terminal = sys.stdout.isatty()
    return Quiet(file=sys.stdout, width=None if terminal else PLAIN_WIDTH, markup=False, highlight=False, emoji=False)


def as_json(document: Mapping[str, Any]) -> str:
    """Returns the JSON text of a document, its keys in the document's order; raises ValueError for NaN."""
    return json.dumps(document, indent=2, allow_nan=False)


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one JSON document."""
    print(as_json(document))


def check_target(path: Path, field: str) -> None:
    """Raises InputError under `field` for a place where no file can be written, before any work is done for it."""
    if path.is_dir():
        raise InputError(field, str(path), "a file; this is a folder")
    if not path.parent.is_dir():
        raise InputError(field, str(path), f"a file in a folder that exists; {path.parent} does not")
    if path.is_file() or not path.exists():
        is_new = not path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise _unwritable(path, field, error) from None
        if is_new:
            path.unlink()


@contextmanager
def target(path: Path, field: str) -> Iterator[TextIO]:
    """Yields the file at `path`, emptied, for text; raises InputError under `field` when it cannot be written."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(path, field, error) from None


def _unwritable(path: Path, field: str, error: OSError) -> InputError:
    return InputError(field, str(path), f"a file that can be written ({error.strerror or error})")
