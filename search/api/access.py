"""Who may do what: each route names the scope that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Scope = Literal["read", "submit", "admin"]


def require(scope: Scope) -> Callable[[], None]:
    """Returns the dependency of a route that needs a scope: on the loopback, where there are no keys, everybody has all."""

    def allowed() -> None:
        """Lets the request pass."""

    return allowed
