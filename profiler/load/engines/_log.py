"""What the log of a server tells about its end."""

from __future__ import annotations

import re
from pathlib import Path

from profiler.load.engines.faults import Died, EngineFault, OutOfMemory, PortTaken

TOLD_LINES, TOLD_CHARACTERS = 3, 400
_TAIL_BYTES = 256 * 1024
# What torch, CUDA, HIP, vLLM and SGLang say when the GPU has too little memory, at start-up or later.
_OUT_OF_MEMORY = re.compile(
    r"(?:CUDA|HIP|XPU) out of memory|OutOfMemoryError|(?:CUDA|HIP) error: out of memory|cudaErrorMemoryAllocation"
    r"|CUBLAS_STATUS_ALLOC_FAILED|No available memory for the cache blocks|less than desired GPU memory utilization"
    r"|KV cache is needed, which is larger than the available|Not enough memory\. Please try|no memory is left for KV",
    re.IGNORECASE,
)
_PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|Errno 98\b|port .{0,40}(?:is )?already in use", re.IGNORECASE)


def fault_of(what: str, log: Path, otherwise: type[EngineFault] = Died) -> EngineFault:
    """Returns the fault that a log tells of: `what` happened, and the lines that say why."""
    text = tail(log)
    for kind, pattern in ((OutOfMemory, _OUT_OF_MEMORY), (PortTaken, _PORT_TAKEN)):
        lines = [line for line in text.splitlines() if pattern.search(line)]
        if lines:
            return kind(f"{what}: {_short(lines[-1])}", log)
    told = last_lines(log, TOLD_LINES)
    return otherwise(f"{what}; its last lines: {told}" if told else f"{what}; it wrote nothing", log)


def last_lines(log: Path, lines: int) -> str:
    """Returns the last lines of a log that say something, in one line."""
    return _short(" | ".join([line.strip() for line in tail(log).splitlines() if line.strip()][-lines:]))


def tail(log: Path) -> str:
    """Returns the end of a log, which may hold anything."""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").replace("\r", "\n")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TOLD_CHARACTERS else "..." + text[-TOLD_CHARACTERS:]
