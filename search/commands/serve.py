"""`trimtab serve`: the REST API, the dashboard and a worker in one command, or one of them."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from simulator.errors import InputError, unknown_name

PARTS = ("api", "dashboard", "worker")
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
    only: Annotated[
        str | None, typer.Option("--only", metavar="PART", help="api, dashboard or worker, instead of all three.")
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Ask for keys on the loopback too, as behind a proxy.")] = False,
    to_private: Annotated[
        bool,
        typer.Option("--webhooks-to-private", envvar="TRIMTAB_WEBHOOKS_TO_PRIVATE", help="Let webhooks lead to private addresses."),
    ] = False,
) -> None:
    """Run the REST API, the dashboard and a worker. They run until they are interrupted."""
    if only is not None and only not in PARTS:
        raise unknown_name("--only", only, PARTS)
    if not 0 <= port < 65536:
        raise InputError("--port", port, "0 to 65535")
    address = checked_host(host)

    from db.session import open_store
    from search import server
    from search.api.access import from_environment

    with open_store(db) as store:
        place = store.place
    if only == "worker":
        server.work(db, to_private)
        return
    try:
        listening = server.listen(host, port)
    except OSError as error:
        raise InputError("--port", f"{host}:{port}", f"an address that is free ({error.strerror or error})") from None
    shown = f"[{host}]" if ":" in host else host
    with_keys = keys or not address.is_loopback
    told = "with keys, made by trimtab keys create" if with_keys else "no keys are asked for: whoever is on this machine may do all"
    says = f"trimtab listens on http://{shown}:{listening.getsockname()[1]} (store {place}; {told})"
    app = server.build(db, access=from_environment(with_keys), only=only)
    server.run(app, listening, says, server.worker_command(db, to_private) if only is None else None)


def checked_host(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Returns the address to listen on; beyond the loopback keys are asked for. Raises InputError for what is no address."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise InputError("--host", host, "an IP address, or localhost") from None
