"""What a page is made from: the store, the address that was asked for, and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from db.session import Store


@dataclass(frozen=True)
class View:
    """One look at a page; `params` are the parts of its path, `query` what stands behind the question mark.

    All that a page shows follows from these, so that an address can be shared.
    """

    store: Store
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def address(self, **changes: str | None) -> str:
        """Returns the address of this page with other values in its query; None takes one away."""
        query = {name: value for name, value in {**self.query, **changes}.items() if value is not None}
        return f"{self.path}?{urlencode(query)}" if query else self.path
