"""Options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_DB = "sqlite:///trimtab.db"
Db = Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored: a path or a URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)]
