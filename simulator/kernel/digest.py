"""The digest of everything that is compiled: it keys numba's cache and is stored with every trial."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def kernel_digest() -> str:
    """Returns 12 hexadecimal digits over the sources of kernel, schedulers and routers, and numba's version."""
    state = hashlib.sha256(version("numba").encode())
    for room in ("kernel", "schedulers", "routers"):
        for path in sorted((ROOT / room).glob("*.py")):
            state.update(path.name.encode())
            state.update(path.read_bytes())
    return state.hexdigest()[:12]
