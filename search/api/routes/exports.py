"""Exports: a study as a file."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from db import queries, validations
from search import export
from search.api.access import require
from search.api.errors import documented
from search.api.state import Opened, StudyPath

router = APIRouter(tags=["studies"], dependencies=[Depends(require("read"))])
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "html": "text/html; charset=utf-8"}
SHOWN = {"description": "The file.", "content": {"text/csv": {}, "application/json": {}, "text/html": {}}}


@router.get(
    "/studies/{study}/export",
    response_class=Response,
    responses={200: SHOWN, **documented(401, 403, 404, 422, 429, 503)},
)
def exported(study: StudyPath, service: Opened, format: Annotated[Literal["csv", "json", "html"], Query()] = "csv") -> Response:  # noqa: A002
    """All of a study as CSV (a row an operating point), JSON, or a page for a browser."""
    row = queries.study(service.store, study)
    store = service.store
    shown = queries.trials(store, row.id), queries.points(store, row.id), validations.of_study(store, row.id)
    text = export.text(format, row, *shown)
    headers = {"Content-Disposition": f'attachment; filename="{row.id}.{format}"'}
    return Response(text, media_type=TYPES[format], headers=headers)
