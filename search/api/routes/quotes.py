"""Quotes: the best of a study under another SLO or at other prices, from its stored curves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import Field
from starlette.responses import Response

from db import queries
from search import requote
from search.api import models
from search.api.access import require
from search.api.bodies import As, parsed
from search.api.errors import documented
from search.api.state import Opened, StudyPath, answer
from simulator import catalog
from simulator.spec.base import Spec
from simulator.spec.slo import Slo

router = APIRouter(tags=["studies"], dependencies=[Depends(require("read"))])


class QuoteRequest(Spec):
    """Other terms for a study; what is not given stays as the study has it."""

    slo: Slo | None = None
    prices: str | None = Field(default=None, description="A price book of the catalog.")
    objectives: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=8, strict=False)


EXAMPLE = {"slo": {"ttft_p99_s": 1.0, "itl_p99_s": 0.1}, "prices": "cloud-2026-11"}


@router.post(
    "/studies/{study}/best",
    response_model=models.Quote,
    responses=documented(400, 401, 403, 404, 413, 422, 429, 503),
)
def best(
    study: StudyPath, service: Opened, body: Annotated[dict[str, Any], As(QuoteRequest), Body(examples=[EXAMPLE])]
) -> Response:
    """The frontier under another SLO or at other prices; nothing is simulated, and what the curves do not reach is said."""
    asked = parsed(QuoteRequest, body)
    row = queries.study(service.store, study)
    name = asked.prices or row.request.get("prices")
    # A study of this machine's own command line may have a price book in a file, which a service does not open.
    book = catalog.price_book(name) if name in catalog.names("prices") else None
    terms = requote.terms_of(row, asked.slo, book, asked.objectives)
    return answer(requote.requote(row, queries.trials(service.store, row.id), terms))
