"""Uploaded traces on this machine: files under their own SHA-256, put there by whoever has the store, checked when read.

A workload names one as `sha256:...`. Ray workers on other machines find it where TRIMTAB_TRACES is a folder that all share.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from simulator.errors import InputError

NAME = re.compile(r"sha256:([0-9a-f]{64})")


def folder() -> Path:
    """Returns where uploaded traces are kept: TRIMTAB_TRACES, else a folder of the user's cache."""
    stated = os.environ.get("TRIMTAB_TRACES")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(stated) if stated else Path(cache) / "trimtab" / "traces"


def hash_of(name: str, field: str = "workload.trace") -> str:
    """Returns the 64 hexadecimal digits of a name; raises InputError under `field` for text that is none."""
    found = NAME.fullmatch(name)
    if found is None:
        raise InputError(field, name, "sha256: and the 64 hexadecimal digits of an uploaded trace")
    return found[1]


def has(name: str) -> bool:
    """Returns whether the trace is on this machine."""
    return (folder() / hash_of(name)).is_file()


def keep(name: str, data: bytes) -> Path:
    """Returns the file of a trace, written whole or not at all; raises InputError for data of another hash."""
    sha256 = hash_of(name)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError("workload.trace", name, "a trace whose content has this hash (the copy is damaged)")
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, place / sha256)
    except BaseException:
        os.unlink(temporary)
        raise
    return place / sha256


def read(name: str) -> bytes:
    """Returns the content of an uploaded trace; raises InputError when it is not on this machine or damaged."""
    sha256 = hash_of(name)
    try:
        data = (folder() / sha256).read_bytes()
    except OSError:
        raise InputError("workload.trace", name, "a trace that was uploaded to this service, or a path") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError("workload.trace", name, "a trace whose content has this hash (the copy on this machine is damaged)")
    return data
