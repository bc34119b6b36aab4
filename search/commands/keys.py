"""`trimtab keys`: who may use the service."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.options import DEFAULT_DB, Db, Json
from search.commands.usage import Commands
from search.output import console, print_json
from simulator.errors import InputError

if TYPE_CHECKING:
    from db.rows import KeyRow

app = typer.Typer(cls=Commands, rich_markup_mode=None, help="Make, list and revoke the keys of the service.")
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
SPAN = "a number of minutes, hours or days: 30m, 12h, 90d"


@app.callback(invoke_without_command=True)
def _keys(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.", show_default=False)],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", metavar="SCOPE", help="read, submit (and read) or admin (all); read.")
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", metavar="SPAN", help="Until when, such as 90d; for ever.")] = None,
    quota: Annotated[int | None, typer.Option("--quota", metavar="N", help="The most jobs that it may have open.")] = None,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from db import keys
    from db.session import open_store

    until = None if expires is None else datetime.now(UTC) + span(expires, "--expires")
    with open_store(db) as store:
        row, secret = keys.create(store, name, scope or ["read"], until, quota)
    if as_json:
        print_json({**_document(row), "key": secret})
        return
    print(secret)
    typer.echo(f"key {row.id} of {row.name} ({row.scopes}); it is shown this once and stored nowhere", err=True)


@app.command("list")
def list_(db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    from db import keys
    from db.session import open_store
    from search.layout import Column, show

    with open_store(db) as store:
        rows = keys.keys(store)
    if as_json:
        print_json({"items": [_document(row) for row in rows]})
        return
    if not rows:
        print("there are no keys: trimtab keys create NAME makes one")
        return
    documents = [_document(row) for row in rows]
    titles = ("id", "name", "scopes", "quota", "state", "expires_at", "last_used_at")
    cells = {title: [_cell(document[title]) for document in documents] for title in titles}
    show(console(), [Column(title, cells[title], weight, "left") for weight, title in enumerate(titles)])


@app.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY", help="Id or name.", show_default=False)], db: Db = DEFAULT_DB) -> None:
    """Have a key count no more, at once, with the browsers that showed it."""
    from db import keys
    from db.session import open_store

    with open_store(db) as store:
        row = keys.revoke(store, key)
    print(f"key {row.id} of {row.name} is revoked")


def span(text: str, field: str) -> timedelta:
    """Returns the time that `90d`, `12h` or `30m` stand for; raises InputError under `field` for other text."""
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if found is None or int(found[1]) == 0:
        raise InputError(field, text, SPAN)
    return int(found[1]) * UNITS[found[2]]


def _document(row: KeyRow) -> dict[str, Any]:
    times = {name: getattr(row, name) for name in ("created_at", "expires_at", "last_used_at", "revoked_at")}
    is_over = row.expires_at is not None and row.expires_at <= datetime.now(UTC)
    return {
        "id": row.id,
        "name": row.name,
        "scopes": row.scopes.split(","),
        "quota": row.quota,
        "state": "revoked" if row.revoked_at else "expired" if is_over else "valid",
        **{name: None if value is None else value.isoformat(timespec="seconds") for name, value in times.items()},
    }


def _cell(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else "-" if value is None else str(value)
