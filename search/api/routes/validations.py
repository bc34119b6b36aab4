"""Validations and corrections: what ran on real engines, beside what was simulated."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from db import queries, validations
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import LARGEST_PAGE, PAGE, READABLE, Opened, StudyPath, answer
from search.validation import document, item

router = APIRouter(tags=["validations"], dependencies=[Depends(require("read"))])
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="The most items of a page.")]
Named = Annotated[str | None, Query(max_length=200, pattern=READABLE)]
Before = Annotated[int | None, Query(alias="cursor", ge=1, le=2**63 - 1, description="The next_cursor of the page before.")]
REFUSED = documented(401, 403, 422, 429, 503)


@router.get("/validations", response_model=models.Validations, responses=REFUSED)
def newest(service: Opened, engine: Named = None, device: Named = None, limit: Limit = PAGE, before: Before = None) -> Response:
    """Validations of all studies, newest first."""
    found = validations.newest(service.store, limit + 1, before, engine=engine, device=device)
    items = [
        {
            "id": each.row.id,
            "study": each.row.study_id,
            "name": each.name,
            "trial": each.trial,
            "finished_at": each.row.finished_at.isoformat(),
            "versions": each.row.versions,
            **item(each.row),
        }
        for each in found[:limit]
    ]
    return answer({"items": items, "next_cursor": str(items[-1]["id"]) if len(found) > limit else None})


@router.get(
    "/studies/{study}/validations", response_model=models.StudyValidations, responses=documented(401, 403, 404, 422, 429, 503)
)
def of_study(study: StudyPath, service: Opened) -> Response:
    """Validations of a study by deployment and load, and how the orders agree: the document of `trimtab validate --json`."""
    return answer(document(service.store, queries.study(service.store, study).id))


@router.get("/corrections", response_model=models.Corrections, responses=documented(401, 403, 429, 503))
def corrections(service: Opened) -> Response:
    """Corrections by name: factors of operator classes fitted to validations, with their uncertainty and their training."""
    names = ("name", "device", "engine", "factors", "error", "training")
    found = validations.corrections(service.store).values()
    return answer(
        {"items": [{**{name: getattr(row, name) for name in names}, "created_at": row.created_at.isoformat()} for row in found]}
    )
