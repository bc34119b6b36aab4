"""Trials: every deployment that a study scored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from db import pages, queries
from db.rows import TrialState
from search import documents
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import LARGEST_PAGE, PAGE, Opened, StudyPath, answer

router = APIRouter(tags=["trials"], dependencies=[Depends(require("read"))])
MOST = 2**31 - 1


@router.get("/studies/{study}/trials", response_model=models.Trials, responses=documented(401, 403, 404, 422, 429, 503))
def trials(
    study: StudyPath,
    service: Opened,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[int | None, Query(ge=0, le=MOST, description="The next_cursor of the page before.")] = None,
    state: TrialState | None = None,
) -> Response:
    """A page of trials by number, each with its curve."""
    row = queries.study(service.store, study)
    found = pages.trials(service.store, row.id, limit + 1, cursor, state)
    more = str(found[limit - 1].number) if len(found) > limit else None
    return answer(documents.trials(found[:limit], more))


@router.get("/studies/{study}/trials/{number}", response_model=models.Trial, responses=documented(401, 403, 404, 422, 429, 503))
def trial(study: StudyPath, number: Annotated[int, Path(ge=0, le=MOST)], service: Opened) -> Response:
    """One trial."""
    row = queries.study(service.store, study)
    return answer(documents.trial(queries.trial(service.store, row.id, number)))
