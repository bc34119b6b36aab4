"""Catalog: what a request may name, price books among it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from search import listing
from search.api import models
from search.api.access import require
from search.api.errors import documented
from search.api.state import READABLE, answer

router = APIRouter(tags=["catalog"], dependencies=[Depends(require("read"))])
KindPath = Annotated[str, Path(max_length=40, pattern=READABLE, examples=["devices"])]
NAMES = documented(401, 403, 404, 422, 429)


@router.get("/catalog", response_model=models.Kinds, responses=documented(401, 403, 429))
def kinds() -> Response:
    """The kinds of names that there are."""
    return answer({"items": list(listing.KINDS)})


@router.get("/catalog/{kind}", response_model=models.CatalogNames, responses=NAMES)
def names(kind: KindPath) -> Response:
    """The names of a kind with a summary of each: the document of `trimtab catalog KIND --json`."""
    return answer(listing.document(kind))


@router.get("/catalog/{kind}/{name:path}", response_model=models.CatalogEntry, responses=NAMES)
def entry(kind: KindPath, name: Annotated[str, Path(max_length=200, examples=["H100-SXM"])]) -> Response:
    """One name with its fields; a model's name has a slash in it."""
    return answer(listing.document(kind, name))


@router.get("/prices", response_model=models.CatalogNames, responses=documented(401, 403, 429), tags=["prices"])
def books() -> Response:
    """The price books."""
    return answer(listing.document("prices"))


@router.get("/prices/{name}", response_model=models.CatalogEntry, responses=NAMES, tags=["prices"])
def book(name: Annotated[str, Path(max_length=200, pattern=READABLE, examples=["cloud-2026-11"])]) -> Response:
    """One price book with its instances, prices and sources."""
    return answer(listing.document("prices", name))
