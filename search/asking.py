"""Who asks, and what they may do: known to all that answers, whether it is the REST API or a page.

Whoever lets a request in sets it for as long as the request is answered; a program of its own asks for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from simulator.errors import TrimtabError

Scope = Literal["read", "submit", "admin"]
# Whoever may submit may read, and an admin may do all.
INCLUDED: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "admin": frozenset({"read", "submit", "admin"}),
}


class Forbidden(TrimtabError):
    """The key that asks lacks the scope."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the key's id, None where keys are off, what it may do, and the most jobs that it may have open."""

    key_id: str | None
    scopes: frozenset[str]
    quota: int | None = None
    by_cookie: bool = False


EVERYBODY = Caller(None, INCLUDED["admin"])
NOBODY = Caller(None, frozenset())
_CALLER: ContextVar[Caller] = ContextVar("caller", default=EVERYBODY)


@contextmanager
def asked_by(caller: Caller) -> Iterator[None]:
    """Has what is done within be done for a caller."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


def caller() -> Caller:
    """Returns who asks."""
    return _CALLER.get()


def allowed(scope: Scope) -> Caller:
    """Returns who asks; raises Forbidden where the scope is needed that they lack."""
    found = _CALLER.get()
    if scope not in found.scopes:
        raise Forbidden(lacking(scope))
    return found


def lacking(scope: Scope) -> str:
    """Returns what to tell whoever lacks a scope."""
    return f"the key may not do this: it needs the scope {scope}"
