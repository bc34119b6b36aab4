"""The guard: a small process between us and a server, which ends the server's whole tree when we end, however we end.

Run as a script: `_guard.py PIPE GRACE_S PROGRAM ARGUMENT...`. PIPE is the number of a pipe's end to read from, which
nothing is ever written to: it is closed when the parent wants the server gone, or is gone itself. The processes are

    parent > sentry > guard > server, a process group > its workers, some in sessions of their own

The sentry is there since whoever kills the parent may kill its children with it, as Ray does: the guard is none of them, and
sees that the sentry has left. On Linux both inherit whatever of the tree outlives its parent, so that every worker is found,
and the server dies with the guard, after which the sentry ends the rest. Both leave with the server's exit status, 128 and
the number for a signal, as a shell does; 127 when the program cannot be run.

It imports the standard library alone and starts in some ten milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

CANNOT_RUN = 127
LOOK_S = 0.1
KILL_S = 10.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LINUX = sys.platform == "linux"


def main(pipe: int, grace_s: float, argv: list[str]) -> int:
    """Returns the server's exit status once nothing of its tree is left, or at once when the parent has left: the sentry."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    parent = os.getppid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = os.fork()
    if guard == 0:
        os.setsid()
        os._exit(_guard(pipe, grace_s, argv))
    status = None
    while status is None:
        if os.getppid() != parent:
            return 0
        time.sleep(LOOK_S / 4)
        status = _reap(guard)
    _kill_rest(None)
    return status


def _guard(pipe: int, grace_s: float, argv: list[str]) -> int:
    """Returns the server's exit status once nothing of its tree is left."""
    sentry = os.getppid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    server = _start(argv)
    status = None
    while status is None and not _parent_left(pipe, sentry):
        status = _reap(server)
    if status is None:
        _signal_all(server, signal.SIGTERM)
        status = _wait(server, time.monotonic() + grace_s)
    _kill_rest(server)
    return status if status is not None else 128 + signal.SIGKILL


def _start(argv: list[str]) -> int:
    """Returns the process of the server, which dies with the guard."""
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        if os.getppid() == guard:
            os.execvp(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(CANNOT_RUN)


def _parent_left(pipe: int, parent: int) -> bool:
    """Returns, after LOOK_S at most, whether the pipe is closed; a copy of its other end in some other child does not deceive."""
    ready, _, _ = select.select([pipe], [], [], LOOK_S)
    return bool(ready) or os.getppid() != parent


def _reap(server: int) -> int | None:
    """Collects every child that has ended; returns the server's exit status when it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            if child == server:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found


def _wait(server: int, until: float) -> int | None:
    """Returns the server's exit status once the whole tree has left, or what is known of it when time is up."""
    status = None
    while time.monotonic() < until:
        found = _reap(server)
        status = status if found is None else found
        if status is not None and not descendants(os.getpid()):
            break
        time.sleep(LOOK_S / 5)
    return status


def _kill_rest(server: int | None) -> None:
    """Kills what is left of the tree, until nothing is."""
    until = time.monotonic() + KILL_S
    while True:
        _signal_all(server, signal.SIGKILL)
        _reap(server or 0)
        if not descendants(os.getpid()) or time.monotonic() > until:
            return
        time.sleep(LOOK_S / 10)


def _signal_all(server: int | None, number: int) -> None:
    """Sends a signal to the server's process group, and on Linux to every other process below this one."""
    if server is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server, number)
    for process in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process) != server:
                os.kill(process, number)


def descendants(root: int) -> list[int]:
    """Returns the living processes below one, the nearest first; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if _LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    # The program's name stands in parentheses and may hold anything.
                    state, above = file.read().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(above), []).append(int(name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
