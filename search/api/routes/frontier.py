"""Frontiers: what a study is for."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from db import queries
from search import documents
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import Opened, StudyPath, answer

router = APIRouter(tags=["studies"])


@router.get(
    "/studies/{study}/frontier",
    response_model=models.Frontier,
    responses=documented(401, 403, 404, 422, 429, 503),
    dependencies=[Depends(require("read"))],
)
def frontier(study: StudyPath, service: Opened) -> Response:
    """The frontier of a study: the document of `trimtab frontier --json`."""
    row = queries.study(service.store, study)
    points = queries.frontier(service.store, row.id)
    return answer(documents.frontier(row, points, queries.trial_counts(service.store, row.id)))
