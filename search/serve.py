"""`trimtab serve`: the REST API and a worker in one command, or one of them."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from simulator.errors import InputError, unknown_name

PARTS = ("api", "worker")
DEFAULT_PORT = 8321


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command()(serve)


def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="The port; 0 is any free one.")] = DEFAULT_PORT,
    db: Annotated[
        str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored: a path or a URL.")
    ] = "sqlite:///trimtab.db",
    only: Annotated[str | None, typer.Option("--only", metavar="PART", help="api or worker, instead of both.")] = None,
) -> None:
    """Run the REST API and a worker until they are interrupted."""
    if only is not None and only not in PARTS:
        raise unknown_name("--only", only, PARTS)
    if not 0 <= port < 65536:
        raise InputError("--port", port, "0 to 65535")
    address = checked_host(host)

    from db.session import open_store
    from search import server

    with open_store(db) as store:
        place = store.place
    if only == "worker":
        server.work(db)
        return
    try:
        listening = server.listen(host, port)
    except OSError as error:
        raise InputError("--port", f"{host}:{port}", f"an address that is free ({error.strerror or error})") from None
    shown = f"[{host}]" if ":" in host else host
    keys = "no keys are needed on the loopback" if address.is_loopback else "with keys"
    says = f"trimtab listens on http://{shown}:{listening.getsockname()[1]} (store {place}; {keys})"
    server.run(server.build(db), listening, says, None if only == "api" else server.worker_command(db))


def checked_host(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Returns the address to listen on; raises InputError for one beyond the loopback, where anybody could come in."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise InputError("--host", host, "an IP address, or localhost") from None
    if not address.is_loopback:
        raise InputError("--host", host, "127.0.0.1 or ::1, since there are no keys that would keep others out")
    return address
