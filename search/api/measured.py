"""What the service measures of itself: requests by route, the studies by state, work in progress; a line of the log a request."""

from __future__ import annotations

import logging
import time
import uuid

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("trimtab.api")
REQUEST_ID = b"x-request-id"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Measures:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ("method", "route")
        self.requests = Counter("trimtab_requests", "Requests answered.", (*names, "status"), registry=self.registry)
        self.seconds = Histogram("trimtab_request_seconds", "Time to answer.", names, buckets=BUCKETS, registry=self.registry)
        self.studies = Gauge("trimtab_studies", "Studies in the store.", ("state",), registry=self.registry)
        told = "Deliveries to webhooks in the store."
        self.deliveries = Gauge("trimtab_webhook_deliveries", told, ("state",), registry=self.registry)
        self.simulating = Gauge("trimtab_simulations_running", "Short simulations running now.", registry=self.registry)


class Measured:
    """Middleware that counts and logs every request and gives it an id; what a client sends is logged by its route alone."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, identity = time.perf_counter(), 500, uuid.uuid4().hex[:16]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, identity.encode())]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            self._note(scope, status, time.perf_counter() - began, identity)

    def _note(self, scope: Scope, status: int, seconds: float, identity: str) -> None:
        # Addresses that no route has are one: a scanner must not fill the registry.
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS") else "other"
        self.measures.requests.labels(method, route, status).inc()
        self.measures.seconds.labels(method, route).observe(seconds)
        given = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), "request_id": identity}
        LOG.log(logging.DEBUG if route in ("/healthz", "/readyz", "/metrics") else logging.INFO, "request", extra=given)
