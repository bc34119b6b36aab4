"""Whether the service lives, whether it can work, and what it measures of itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from db import pages, webhooks
from db.webhook_rows import DeliveryState
from search.api import models
from search.api.measured import Measures
from search.api.state import Opened, answer
from simulator.errors import StoreError

STATES: tuple[DeliveryState, ...] = ("waiting", "done", "failed")
router = APIRouter(tags=["operation"])
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": models.Ready, "description": "Not ready."},
}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Measures in Prometheus' text format.", "content": {"text/plain": {}}}
}


@router.get("/healthz", response_model=models.Alive)
def healthz() -> Response:
    """Whether the process answers."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=models.Ready, responses=NOT_READY)
def readyz(service: Opened) -> Response:
    """Whether the store can be read and what a simulation needs is loaded."""
    parts = {"store": "ok", "simulations": "ok" if service.bounded.is_ready else "loading"}
    try:
        pages.counted_by_state(service.store)
    except StoreError:
        parts["store"] = "cannot be read"
    ready = all(part == "ok" for part in parts.values())
    return answer({"status": "ok" if ready else "not ready", "parts": parts}, 200 if ready else 503)


@router.get("/metrics", response_class=Response, responses=METRICS)
def metrics(request: Request, service: Opened) -> Response:
    """The measures of this process, and the studies and deliveries of the store."""
    measures: Measures = request.app.state.measures
    measures.simulating.set(service.bounded.busy)
    for state, count in pages.counted_by_state(service.store).items():
        measures.studies.labels(state).set(count)
    deliveries = webhooks.counts(service.store)
    for each in STATES:
        measures.deliveries.labels(each).set(deliveries.get(each, 0))
    return Response(generate_latest(measures.registry), media_type=CONTENT_TYPE_LATEST)
