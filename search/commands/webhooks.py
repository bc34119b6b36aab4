"""`trimtab webhooks`: who is told when a study ends or a sweep finds regressions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from search.commands.options import DEFAULT_DB, Db, Json
from search.commands.usage import Commands
from search.output import console, print_json
from simulator.errors import Infeasible, InputError

app = typer.Typer(cls=Commands, rich_markup_mode=None, help="Add, list, test and remove webhooks.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a webhook.", show_default=False)]
Private = Annotated[
    bool,
    typer.Option("--webhooks-to-private", envvar="TRIMTAB_WEBHOOKS_TO_PRIVATE", help="Let webhooks lead to private addresses."),
]

# The fields of lists in their order, with a weight each: what has the highest is left out first on a narrow screen.
WEBHOOK = {"id": 0, "url": 0, "on": 1, "created_at": 2}
DELIVERY = {"id": 0, "webhook": 5, "event": 2, "state": 1, "attempts": 3, "created_at": 6, "next_attempt_at": 7, "error": 1}
# Those that are broken into lines before that.
LONG, LINE = ("on", "error"), 26


@app.callback(invoke_without_command=True)
def _webhooks(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to POST.", show_default=False)],
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="EVENTS", help="study.done, regression, ..., apart by commas; all.")
    ] = None,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Add a webhook and show the secret that signs for it, this once."""
    from db import webhooks
    from db.session import open_store
    from search.hooks import webhook

    events = [event.strip() for text in on or () for event in text.split(",")]
    with open_store(db) as store:
        row, secret = webhooks.add(store, url, events)
    if as_json:
        print_json({**webhook(row), "secret": secret})
        return
    print(secret)
    typer.echo(f"webhook {row.id} is told of {', '.join(row.on)}; its secret is shown this once", err=True)


@app.command("list")
def list_(db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """List the webhooks, without their secrets."""
    from db import webhooks
    from db.session import open_store
    from search.hooks import webhook

    with open_store(db) as store:
        documents = [webhook(row) for row in webhooks.webhooks(store)]
    if as_json:
        print_json({"items": documents})
    elif documents:
        _show(documents, WEBHOOK)
    else:
        print("there are no webhooks: trimtab webhooks add URL makes one")


@app.command()
def remove(webhook: Id, db: Db = DEFAULT_DB) -> None:
    """Remove a webhook, with what was still to be sent to it."""
    from db import webhooks
    from db.session import open_store

    with open_store(db) as store:
        row = webhooks.remove(store, webhook)
    print(f"webhook {row.id} is removed")


@app.command()
def test(webhook: Id, to_private: Private = False, db: Db = DEFAULT_DB) -> None:
    """Send a ping to a webhook now; exit status 1 when it is not taken."""
    from db import outbox, webhooks
    from db.session import open_store
    from search.delivering import Sending, send_due

    with open_store(db) as store:
        made = outbox.ping(store, webhook)
        send_due(store, Sending(to_private), only=made.id)
        row = webhooks.delivery(store, made.id)
    if row is None or row.state != "done":
        raise Infeasible(f"webhook {webhook}: {'removed meanwhile' if row is None else row.error or 'another process sends it'}")
    print(f"webhook {webhook} answered {row.status}")


@app.command()
def deliveries(
    webhook: Annotated[str | None, typer.Argument(metavar="ID", help="Only of this webhook.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The most to list, newest first.")] = 30,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """List what was sent and what waits to be."""
    from db import webhooks
    from db.session import open_store
    from search.hooks import delivery

    if limit < 1:
        raise InputError("--limit", limit, "a whole number from 1")
    with open_store(db) as store:
        of = None if webhook is None else webhooks.webhook(store, webhook).id
        documents = [delivery(row) for row in webhooks.deliveries(store, limit, webhook_id=of)]
    if as_json:
        print_json({"items": documents})
    elif documents:
        _show(documents, DELIVERY)
    else:
        print("nothing was to be delivered yet")


@app.command()
def send(to_private: Private = False, db: Db = DEFAULT_DB) -> None:
    """Send what is due, as a worker of the service does all the time."""
    from db import webhooks
    from db.session import open_store
    from search.delivering import Sending, send_due

    with open_store(db) as store:
        attempts, left = send_due(store, Sending(to_private)), webhooks.counts(store).get("waiting", 0)
    print(f"{attempts:,} attempted; {left:,} wait")


def _show(documents: Sequence[dict[str, Any]], weights: Mapping[str, int]) -> None:
    """Prints the fields in their order; where the screen is too narrow, without those of the highest weight."""
    from search.layout import Column, show

    cells = {title: [_cell(document[title]) for document in documents] for title in weights}
    short = {title: ["\n".join(textwrap.wrap(cell, LINE)) for cell in of] for title, of in cells.items() if title in LONG}
    show(console(), [Column(title, cells[title], weight, "left", short.get(title)) for title, weight in weights.items()])


def _cell(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
