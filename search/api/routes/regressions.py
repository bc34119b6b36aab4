"""Regressions: the runs of nightly suites, each with what changed and why, and how far off the simulator is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import ConfigDict
from starlette.responses import Response

from db import sweeps
from search.api.access import require
from search.api.errors import Refused, documented
from search.api.models import Document
from search.api.state import LARGEST_PAGE, PAGE, READABLE, Opened, after_of, answer, cursor_of
from search.sweep import record
from simulator.errors import InputError

router = APIRouter(tags=["regressions"], dependencies=[Depends(require("read"))])
ID = "r-7f3a9c21d0e4"
LINE: dict[str, Any] = {
    "id": ID,
    "suite": "nightly",
    "verdict": "changed",
    "baseline": "main",
    "baseline_run": "r-0b51c9a7e2d8",
    "seed_shift": 0,
    "host": "runner-1",
    "summary": {"cases": 4, "changed": ["cloud prices"], "findings": 1, "accuracy": 1, "left_out": [], "seconds": 21.4},
    "created_at": "2026-11-23T02:00:00+00:00",
    "finished_at": "2026-11-23T02:00:22+00:00",
}
CASE: dict[str, Any] = {
    "name": "cloud prices",
    "kind": "prices",
    "state": "done",
    "reason": None,
    "findings": [
        {
            "kind": "price",
            "what": "AWS p5.4xlarge (1 x H100-SXM) in us-east-1, on_demand",
            "before": 6.88,
            "now": 7.2,
            "better": False,
            "allowed": 0.0,
            "sentence": "AWS p5.4xlarge (1 x H100-SXM) in us-east-1, on_demand went from 6.88 to 7.2, +4.65% (allowed 0.00%)",
        }
    ],
    "causes": [
        {
            "kind": "price",
            "what": "AWS p5.4xlarge (1 x H100-SXM) in us-east-1, on_demand",
            "sentence": "price: AWS p5.4xlarge (1 x H100-SXM) in us-east-1, on_demand, 6.88 to 7.2 USD an hour",
        }
    ],
    "why": "price: AWS p5.4xlarge (1 x H100-SXM) in us-east-1, on_demand, 6.88 to 7.2 USD an hour",
    "numbers": {},
    "notes": [],
    "seconds": 0.002,
}


class Regression(Document):
    """A run of a suite: `verdict` is `first` without a baseline, else `same` or `changed`; times in UTC."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": LINE})

    id: str
    suite: str
    verdict: str
    baseline: str
    baseline_run: str | None
    seed_shift: int
    host: str
    summary: dict[str, Any]
    created_at: str
    finished_at: str


class Regressions(Document):
    """A page of runs, newest first; `next_cursor` leads to the next page, null on the last one."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"items": [LINE], "next_cursor": None}})

    items: list[Regression]
    next_cursor: str | None


class WholeRegression(Regression):
    """A run with its two reports: `predictions` may have failed it, `accuracy` does not."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"example": {**LINE, "versions": {}, "predictions": [CASE], "accuracy": [], "approvals": []}},
    )

    versions: dict[str, Any]
    predictions: list[dict[str, Any]]
    accuracy: list[dict[str, Any]]
    approvals: list[dict[str, Any]]


@router.get("/regressions", response_model=Regressions, responses=documented(401, 403, 422, 429, 503))
def regressions(
    service: Opened,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=200, description="The next_cursor of the page before.")] = None,
    suite: Annotated[str | None, Query(max_length=128, pattern=READABLE, description="Only runs of this suite.")] = None,
) -> Response:
    """A page of the runs of nightly suites, newest first."""
    found = sweeps.runs(service.store, limit + 1, after_of(cursor), suite)
    last = found[limit - 1] if len(found) > limit else None
    more = None if last is None else cursor_of(last.created_at, last.id)
    return answer({"items": [record.line(row) for row in found[:limit]], "next_cursor": more})


@router.get("/regressions/{run}", response_model=WholeRegression, responses=documented(401, 403, 404, 422, 429, 503))
def regression(
    run: Annotated[str, Path(max_length=32, pattern=READABLE, description="Id, beginning of the id, or `last`.", examples=[ID])],
    service: Opened,
) -> Response:
    """One run with its cases: what changed and why, and how far off the simulator is."""
    try:
        row = sweeps.run(service.store, run)
    except InputError as error:
        raise Refused(404, str(error)) from None
    return answer(record.of_run(service.store, row))
