"""What pages are made of goes out compressed: megabytes of scripts, and figures as JSON."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

PATHS = ("/_dash-", "/assets/")
# Beyond this, a level takes more of the server's time than it saves of the network's.
LEVEL, SMALLEST_BYTES = 5, 1000


class Compressed:
    """Middleware that compresses answers to the dashboard's own addresses, and leaves all others as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.zipped = app, GZipMiddleware(app, SMALLEST_BYTES, LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        app = self.zipped if scope["type"] == "http" and scope["path"].startswith(PATHS) else self.app
        await app(scope, receive, send)
