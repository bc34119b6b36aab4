"""Whose a port is: a free one to offer, and whether somebody else's server listens where ours should."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from profiler.load.engines._guard import descendants

HOST = "127.0.0.1"
_LISTENS = "0A"


def free_port() -> int:
    """Returns a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_others(port: int, root: int) -> bool:
    """Returns whether somebody listens on the port who is neither below the process `root` nor itself.

    False where that cannot be told, as without /proc.
    """
    listening = _listening(port)
    return bool(listening) and not any(listening & _sockets(process) for process in (root, *descendants(root)))


def _listening(port: int) -> set[str]:
    """Returns the sockets that listen on a port, by their inodes."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{inode}]")
    return found


def _sockets(process: int) -> set[str]:
    """Returns the sockets that a process of ours holds."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found
