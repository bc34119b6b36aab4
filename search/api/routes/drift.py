"""Drift: a newer trace beside a study, worked out while the caller waits."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import Field, PositiveFloat
from starlette.responses import Response

from db import queries
from search import inward
from search.api.access import require
from search.api.bodies import As, parsed
from search.api.errors import Refused, documented
from search.api.state import Opened, StudyPath, answer
from search.bounded import Full, TooLong
from search.drift import report, telling
from search.drift.compare import TOLERANCE
from search.drift.document import Drift
from simulator.errors import InputError
from simulator.spec.base import Spec

# What webhooks are told is written.
router = APIRouter(tags=["studies"], dependencies=[Depends(require("submit"))])
EXAMPLE = {"trace": "sha256:" + "0" * 64, "rate_rps": 40.0, "replicas": 2}


class DriftRequest(Spec):
    """A newer trace, and what is known of the fleet that runs; what is not given is as the study has it."""

    trace: str = Field(description="sha256:... of an uploaded trace.")
    trial: int | None = Field(default=None, ge=0, lt=2**31, description="This trial, instead of the winner.")
    rate_rps: PositiveFloat | None = Field(default=None, description="The traffic's rate, where the trace is a part of it.")
    replicas: int | None = Field(default=None, ge=1, le=4096, description="How many run, if not the study's.")
    tolerance: float = Field(default=TOLERANCE, ge=0, lt=1, description="Changes that are no news.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of what is drawn and resampled.")


@router.post("/studies/{study}/drift", response_model=Drift, responses=documented(400, 401, 403, 404, 413, 422, 429, 503))
def drift(
    study: StudyPath, service: Opened, body: Annotated[dict[str, Any], As(DriftRequest), Body(examples=[EXAMPLE])]
) -> Response:
    """What changed, and whether the study's answer still stands: the document of `trimtab drift --json`."""
    wanted = parsed(DriftRequest, body)
    asked = report.Asked(wanted.trace, wanted.trial, wanted.rate_rps, wanted.replicas, wanted.tolerance, wanted.seed)
    row = queries.study(service.store, study)
    # A study of this machine's own command line may name files, which a service does not open.
    inward.check(row.request)
    try:
        found = service.bounded.call(report.document, service.db, row.id, asked)
    except Full:
        raise Refused(503, "as much as is worked out at once is being worked out; Retry-After says when to try again") from None
    except TooLong:
        allowed = f"a trace that is worked through within {service.limits.wall_s:g} s; `trimtab drift` has no such limit"
        raise InputError("trace", wanted.trace, allowed) from None
    telling.tell(service.store, found)
    return answer(found)
