"""The door of the application: finds out who asks, refuses who may not, and puts security headers on every answer.

Everything is closed but what `OPEN` names, so that a route that forgets to name a scope is not open either.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from anyio import to_thread
from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.api.access import UNKNOWN, Access, identified, session_token, shown_key
from search.api.errors import Refused, failed, problem
from search.asking import EVERYBODY, NOBODY, Caller, asked_by, lacking
from simulator.errors import StoreError

OPEN = frozenset({"/login", "/logout", "/healthz", "/readyz"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Answers of the API hold nothing that a browser should run. What may be a page runs its own scripts and no others.
DATA_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
PAGE_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" a browser sends a form of our own as from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HSTS = "max-age=31536000"


class Rates:
    """How often each key and each address asked lately, by a sliding window, in this process."""

    def __init__(self, access: Access) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.per_key, self.per_address = access.rate("per_key"), access.rate("per_address")
        self.failures = access.rate("failures")

    def count(self, rate: RateLimitItem, kind: str, who: str) -> None:
        """Counts one request; raises Refused with 429 when it is one too many."""
        if not self._limiter.hit(rate, kind, who):
            raise self._refused(rate, kind, who)

    def check(self, rate: RateLimitItem, kind: str, who: str) -> None:
        """Raises Refused with 429 when one more would be too many."""
        if not self._limiter.test(rate, kind, who):
            raise self._refused(rate, kind, who)

    def _refused(self, rate: RateLimitItem, kind: str, who: str) -> Refused:
        wait_s = max(1, round(self._limiter.get_window_stats(rate, kind, who).reset_time - time.time() + 0.5))
        return Refused(429, f"more than {rate}; Retry-After says when to try again", {"Retry-After": str(wait_s)})


class Guard:
    """Middleware that lets in whom `access` allows, and leaves the Caller in `request.state.caller`."""

    def __init__(self, app: ASGIApp, access: Access, rates: Rates) -> None:
        self.app, self.access, self.rates = app, access, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        guarded = send if scope["type"] == "websocket" else _with_headers(scope, send)
        connection = HTTPConnection(scope)
        try:
            caller = await self._caller(connection)
        except Refused as error:
            await _refuse(error, connection, receive, guarded)
            return
        except StoreError:
            await _refuse(Refused(503, "the store cannot be read or written now"), connection, receive, guarded)
            return
        scope.setdefault("state", {})["caller"] = caller
        with asked_by(caller or NOBODY):
            await self._answered(scope, receive, guarded)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has the application answer; what fails in it is answered here, where every answer gets its headers."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:
            if scope["type"] == "http" and not begun:
                response = await failed(Request(scope), error)
                await response(scope, receive, send)
            raise

    async def _caller(self, connection: HTTPConnection) -> Caller | None:
        address = address_of(connection)
        if shown_key(connection) is None:
            _refuse_other_sites(connection)
        if not self.access.on:
            _refuse_outsiders(connection)
            return EVERYBODY
        self.rates.count(self.rates.per_address, "address", address)
        if connection.url.path in OPEN:
            return None
        if shown_key(connection) is None and session_token(connection) is None:
            raise Refused(401, UNKNOWN, {"WWW-Authenticate": "Bearer"})
        self.rates.check(self.rates.failures, "failures", address)
        caller = await to_thread.run_sync(identified, connection.app.state.service.store, connection)
        if caller is None or caller.key_id is None:
            self.rates.count(self.rates.failures, "failures", address)
            raise Refused(401, UNKNOWN, {"WWW-Authenticate": "Bearer"})
        self.rates.count(self.rates.per_key, "key", caller.key_id)
        if "read" not in caller.scopes:
            raise Refused(403, lacking("read"))
        return caller


def address_of(connection: HTTPConnection) -> str:
    """Returns the address that asks, of IPv6 the network of 64 bits, which is one subscriber's."""
    host = connection.client.host if connection.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host


def _refuse_other_sites(connection: HTTPConnection) -> None:
    """Raises Refused when a page of another site has a browser change something, or open a socket, in its user's name."""
    if connection.scope["type"] == "http" and connection.scope["method"] in SAFE:
        return
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    is_other = site not in (None, "same-origin", "none")
    if is_other or (origin is not None and urlsplit(origin).netloc != connection.headers.get("host")):
        raise Refused(403, "a page of another site asked for this")


def _refuse_outsiders(connection: HTTPConnection) -> None:
    """Raises Refused for what reaches a server without keys from beyond this machine, by a proxy or by a name of its own."""
    if "x-forwarded-for" in connection.headers or "forwarded" in connection.headers:
        raise Refused(403, "this came through a proxy, and keys are off: start with trimtab serve --keys")
    # A site may have its own name point to the loopback, to read answers in a visitor's browser.
    name = urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""
    try:
        is_here = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_here = "." not in name or name.endswith(".localhost")
    if not is_here:
        raise Refused(403, f"{name[:100]} is not this machine, and keys are off: start with trimtab serve --keys")


async def _refuse(error: Refused, connection: HTTPConnection, receive: Receive, send: Send) -> None:
    scope = connection.scope
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "a key is needed"})
        return
    response: Response
    path = connection.url.path
    wants_page = "text/html" in connection.headers.get("accept", "") and not path.startswith("/api/")
    if error.status == 401 and wants_page and scope["method"] in ("GET", "HEAD"):
        response = RedirectResponse(f"/login?next={quote(path)}", 303)
    else:
        response = problem(Request(scope), error.status, error.detail, headers=error.headers)
    await response(scope, receive, send)


def _with_headers(scope: Scope, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _headers(scope, headers).items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _headers(scope: Scope, sent: Mapping[str, Any]) -> dict[str, str]:
    is_api = scope["path"].startswith("/api/") or scope["path"] in OPEN
    found = {**HEADERS, "Content-Security-Policy": DATA_CSP if is_api else PAGE_CSP}
    if is_api:
        found["Cache-Control"] = "no-store"
    if is_api and sent.get("content-type", "").startswith("text/html"):
        # A report is a page with scripts of its own; in a sandbox it is of no site, and sees nothing of this one.
        page = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
        found["Content-Security-Policy"] = f"sandbox allow-scripts allow-downloads; {page}"
    if scope["scheme"] == "https":
        found["Strict-Transport-Security"] = HSTS
    return found
