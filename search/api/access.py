"""Who may do what: keys and browsers that showed one, scopes, and how often each may ask.

`guard.Guard` finds out who calls before anything else happens; a route names the scope that it needs by `require`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItem, parse
from starlette.requests import HTTPConnection

from db import keys
from db.rows import KeyRow
from db.session import Store
from search.api.errors import Refused
from search.asking import INCLUDED, Caller, Scope, lacking
from simulator.errors import InputError

Rate = Literal["per_key", "per_address", "failures"]
RATES: tuple[Rate, ...] = ("per_key", "per_address", "failures")
COOKIE, SAFE_COOKIE = "trimtab_session", "__Host-trimtab_session"
HEADER = "X-API-Key"
RATE = "a number a time, such as 1200/minute"
UNKNOWN = "a key is missing or not valid: send Authorization: Bearer KEY, or X-API-Key"
_BEARER = HTTPBearer(auto_error=False, description="A key of `trimtab keys create`.")
_KEY = APIKeyHeader(name=HEADER, auto_error=False, description="The same key, in a header of its own.")


@dataclass(frozen=True)
class Access:
    """Whether keys are needed, the rates that are allowed, and how long a browser stays logged in, in seconds.

    Rates count in this process. `failures` are wrong keys and wrong logins from one address.
    """

    on: bool = False
    per_key: str = "1200/minute"
    per_address: str = "3000/minute"
    failures: str = "20/minute"
    session_s: float = 12 * 3600.0

    def rate(self, name: Rate) -> RateLimitItem:
        """Returns a rate as the limiter counts it; raises InputError for text that is none."""
        text: str = getattr(self, name)
        try:
            return parse(text)
        except ValueError:
            raise InputError(f"TRIMTAB_RATE_{name.upper()}", text, RATE) from None


def from_environment(on: bool) -> Access:
    """Returns the settings with the rates of TRIMTAB_RATE_PER_KEY, _PER_ADDRESS and _FAILURES; raises InputError."""
    plain = Access(on)
    access = Access(
        on,
        per_key=os.environ.get("TRIMTAB_RATE_PER_KEY", plain.per_key),
        per_address=os.environ.get("TRIMTAB_RATE_PER_ADDRESS", plain.per_address),
        failures=os.environ.get("TRIMTAB_RATE_FAILURES", plain.failures),
    )
    for name in RATES:
        access.rate(name)
    return access


def identified(store: Store, connection: HTTPConnection) -> Caller | None:
    """Returns who asks by the key or the cookie that was sent, None when neither is valid."""
    if (secret := shown_key(connection)) is not None:
        return _caller(keys.by_secret(store, secret), by_cookie=False)
    token = session_token(connection)
    return None if token is None else _caller(keys.by_session(store, token), by_cookie=True)


def shown_key(connection: HTTPConnection) -> str | None:
    """Returns the key in the headers, or None."""
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else connection.headers.get(HEADER)


def session_token(connection: HTTPConnection) -> str | None:
    """Returns what the login cookie holds, or None; over TLS only the cookie counts that TLS alone can set."""
    is_tls = connection.scope["scheme"] in ("https", "wss")
    return connection.cookies.get(SAFE_COOKIE if is_tls else COOKIE)


def _caller(row: KeyRow | None, by_cookie: bool) -> Caller | None:
    if row is None:
        return None
    scopes = frozenset().union(*(INCLUDED[scope] for scope in row.scopes.split(",")))
    return Caller(row.id, scopes, row.quota, by_cookie)


def require(scope: Scope) -> Callable[..., Caller]:
    """Returns the dependency of a route that needs a scope: it gives the Caller, or raises Refused with 401 or 403."""

    def allowed(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
        key: Annotated[str | None, Security(_KEY)] = None,
    ) -> Caller:
        """Returns who asks."""
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):
            raise Refused(401, UNKNOWN, {"WWW-Authenticate": "Bearer"})
        if scope not in caller.scopes:
            raise Refused(403, lacking(scope))
        return caller

    return allowed
