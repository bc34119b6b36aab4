"""What can be wrong with a server that is to be loaded.

EngineFault         the root: `kind` is stored, `reason` is one line, `log` is where the rest stands
├── NotStarted      the program is not there or cannot be run
├── PortTaken       the port was taken between being found free and being listened on, several times
├── Died            the server ended by itself
├── OutOfMemory     the server told that its GPU has too little memory
├── NeverReady      it ran, but did not answer in time
├── Refused         it answered the request of one token with a refusal (4xx): another model's name, a key
├── ServerError     it answered that request with a failure of its own (5xx), again and again
└── Malformed       it answered with something that is not a stream of OpenAI's API
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from simulator.errors import Unmeasured


class EngineFault(Unmeasured):
    """A server that cannot be measured, in one line, with the path of its log where there is one."""

    kind: ClassVar[str] = "fault"

    def __init__(self, reason: str, log: Path | None = None) -> None:
        self.reason = " ".join(reason.split())
        self.log = log
        super().__init__(self.reason if log is None else f"{self.reason} (log: {log})")

    def __reduce__(self) -> tuple[type[EngineFault], tuple[str, Path | None]]:
        return type(self), (self.reason, self.log)


class NotStarted(EngineFault):
    """The program is not there or cannot be run."""

    kind = "not_started"


class PortTaken(EngineFault):
    """Somebody else listened on each port that was tried."""

    kind = "port_taken"


class Died(EngineFault):
    """The server ended by itself."""

    kind = "died"


class OutOfMemory(EngineFault):
    """The server told that its GPU has too little memory."""

    kind = "out_of_memory"


class NeverReady(EngineFault):
    """The server ran, but did not answer in time."""

    kind = "never_ready"


class Refused(EngineFault):
    """The server refused the request of one token."""

    kind = "refused"


class ServerError(EngineFault):
    """The server failed to answer the request of one token, again and again."""

    kind = "server_error"


class Malformed(EngineFault):
    """The server's answer is not a stream of OpenAI's API."""

    kind = "malformed"
