"""`trimtab catalog`: what a request may name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from search.commands import remote
from search.commands.options import Json
from search.output import print_json


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command()(catalog)


def catalog(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="devices, models, workloads, prices, ...", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, in full.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List what a request may name."""
    if (client := remote.service()) is not None:
        with client:
            remote.catalog(client, kind, name, as_json=as_json)
        return
    from search import listing

    if as_json:
        print_json(listing.document(kind, name))
    elif name is not None:
        print(listing.describe(kind, name), end="")
    elif sys.stdout.isatty():
        width = max(map(len, listing.names(kind)), default=0)
        for each in listing.names(kind):
            print(f"{each:{width}}  {listing.summary(kind, each)}")
    else:
        print("\n".join(listing.names(kind)))
