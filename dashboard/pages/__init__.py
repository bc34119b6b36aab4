"""Pages, one file each: the file name is the page's name.

A page's file has

    TITLE       what the browser's tab and the heading say
    PATH        its address, `/studies/{study}` with the names of its parts
    NAV         its place in the bar of links from 1 on; 0 leaves it out
    layout      View -> the page's component; InputError and StoreError become a line on the page
    register    optional: (Dash, store of the application) -> None; adds the page's callbacks

A layout reads the store and decides nothing; what changes something calls `search.service`. Nothing that a page sends
grows with the size of a study beyond what is seen of it.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def all_pages() -> tuple[ModuleType, ...]:
    """Returns the modules of all pages by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


def page_at(path: str) -> tuple[ModuleType, dict[str, str]] | None:
    """Returns the page at an address with the parts of its path; None where there is none."""
    for page in sorted(all_pages(), key=lambda page: page.PATH.count("{")):
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(page.PATH))
        found = re.fullmatch(pattern, path.rstrip("/") or "/")
        if found:
            return page, found.groupdict()
    return None
