"""Comparisons of two studies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from db import queries
from search import compare as comparing
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import READABLE, Opened, answer

router = APIRouter(tags=["studies"], dependencies=[Depends(require("read"))])
Side = Annotated[str, Query(max_length=200, pattern=READABLE, description="Id, beginning of the id, or name.")]


@router.get("/compare", response_model=models.Comparison, responses=documented(401, 403, 404, 422, 429, 503))
def compare(a: Side, b: Side, service: Opened) -> Response:
    """Two studies side by side: what was asked differently, the best on each objective, the deployments of both frontiers."""
    rows = [queries.study(service.store, name) for name in (a, b)]
    left, right = ((row, queries.frontier(service.store, row.id)) for row in rows)
    return answer(comparing.compare(left, right))
