"""Capacity plans: a fleet over a week, worked out while the caller waits."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from db import queries
from search import uploads
from search.api import models
from search.api.access import require
from search.api.bodies import PlanBody, parsed
from search.api.errors import Refused, documented
from search.api.state import Limits, Opened, answer
from search.bounded import Full, TooLong
from search.plan import PlanRequest
from search.plan.planning import check_rates, document
from simulator.errors import InputError
from simulator.spec.workload import Workload

router = APIRouter(tags=["plans"], dependencies=[Depends(require("read"))])


@router.post("/plans", response_model=models.Planned, responses=documented(400, 401, 403, 404, 413, 422, 429, 503))
def plan(body: PlanBody, service: Opened) -> Response:
    """A fleet over a week and its cost: the document of `trimtab plan --json`."""
    request = parsed(PlanRequest, body)
    check(request, service.limits)
    if request.study is not None:
        queries.study(service.store, request.study)
    if request.demand.trace is not None:
        uploads.fetch(service.store, Workload(trace=request.demand.trace))
    if request.workload is not None:
        uploads.fetch(service.store, request.workload)
    try:
        return answer(service.bounded.call(document, request, service.db))
    except Full:
        raise Refused(503, "as much as is worked out at once is being worked out; Retry-After says when to try again") from None
    except TooLong:
        allowed = f"what is answered within {service.limits.wall_s:g} s: fewer windows, fewer deployments, a smaller demand"
        raise InputError("check.windows", request.check.windows, allowed) from None


def check(request: PlanRequest, limits: Limits) -> None:
    """Raises InputError for a plan that is larger than one that is answered while the caller waits."""
    for place, deployment in enumerate(request.deployments or ()):
        if deployment.gpus > limits.gpus:
            raise InputError(f"deployments.{place}.replicas", deployment.replicas, f"fleets of at most {limits.gpus:,} GPUs")
    check_rates(request)
