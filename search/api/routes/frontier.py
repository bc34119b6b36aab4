"""Frontiers: what a study is for."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from db import queries
from db.rows import StudyRow
from db.session import Store
from search import documents
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import Opened, StudyPath, answer

router = APIRouter(tags=["studies"])
ENDED = ("done", "infeasible")


@router.get(
    "/studies/{study}/frontier",
    response_model=models.Frontier,
    responses=documented(401, 403, 404, 422, 429, 503),
    dependencies=[Depends(require("read"))],
)
def frontier(study: StudyPath, service: Opened) -> Response:
    """The frontier of a study: the document of `trimtab frontier --json`."""
    row = queries.study(service.store, study)
    # A study that has ended stays as it is until it is run again, and then it ends at another time.
    if row.state not in ENDED or row.finished_at is None:
        return answer(_document(service.store, row))
    found = service.kept.get((row.id, row.finished_at), lambda: answer(_document(service.store, row)).body)
    return Response(found, media_type="application/json")


def _document(store: Store, row: StudyRow) -> documents.Document:
    return documents.frontier(row, queries.frontier(store, row.id), queries.trial_counts(store, row.id))
