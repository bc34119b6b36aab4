"""Server-sent events, as they come in pieces from a socket."""

from __future__ import annotations

import json
from typing import Any

from profiler.load.faults import Malformed

DONE = "[DONE]"
# No event of a token is as long; a server that sends no line end must not fill the memory.
LONGEST = 1 << 20


class Events:
    """The documents of one stream; `done` is true once the server has said that there are no more."""

    def __init__(self) -> None:
        self._rest = b""
        self.done = False

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Returns the documents that `data` completes; raises Malformed for what is no event with a JSON object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            raise Malformed(f"a line of over {LONGEST:,} bytes")
        found = []
        for line in lines:
            line = line.rstrip(b"\r")
            # Events are set apart by empty lines; other fields and comments keep a connection alive.
            if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
                continue
            if not line.startswith(b"data:"):
                raise Malformed(f"a line that is no event: {_shown(line)}")
            text = line[5:].strip()
            if text == DONE.encode():
                self.done = True
            else:
                found.append(_document(text))
        return found


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        raise Malformed(f"an event that is no JSON: {_shown(text)}") from None
    if not isinstance(document, dict):
        raise Malformed(f"an event that is no object: {_shown(text)}")
    return document


def _shown(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace"))
