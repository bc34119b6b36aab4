"""The application of `/api/v1`: every file of `routes/`, problem details, measures, and where the dashboard is put on it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import compile_path

from db.session import open_store
from search.answers import versions
from search.api import errors, health, login
from search.api.access import Access
from search.api.guard import Guard, Rates
from search.api.measured import Measured, Measures
from search.api.state import Limits, Service
from search.bounded import Bounded

PREFIX = "/api/v1"
# Threads beyond what the store has connections for would wait for one and time out.
THREADS = 12
ABOUT = """Finds the cheapest deployment of a language model that serves a workload within its SLO.

A study is submitted, runs, and has a frontier. Units are in the names. Errors are problem details (RFC 9457).
Nothing in a request is a path: traces are `sha256:...` of an upload, profiles and price books are named."""


def application(
    db: str,
    limits: Limits | None = None,
    extend: Callable[[FastAPI], None] = lambda app: None,
    access: Access | None = None,
    routes: Collection[str] | None = None,
) -> FastAPI:
    """Returns the web application on the store at `db`; `extend` puts more on it, after the routes of the API.

    Without `access` keys are off: only for a server on the loopback. `routes` names the files of `routes/` that it has, all
    by default.
    """
    bounds = limits or Limits()
    allowed = access or Access()
    rates = Rates(allowed)
    measures = Measures()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        store = await asyncio.to_thread(open_store, db)
        bounded = Bounded(bounds.at_once, bounds.wall_s)
        bounded.start()
        app.state.service = Service(store, db, bounds, bounded)
        try:
            yield
        finally:
            await asyncio.to_thread(bounded.close)
            await asyncio.to_thread(store.close)

    app = FastAPI(
        title="Trimtab",
        version=versions().get("trimtab", "0"),
        description=ABOUT,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=_operation,
    )
    app.state.measures, app.state.access, app.state.rates = measures, allowed, rates
    errors.register(app)
    # The application's own limit would lie outside of what follows, and its answers be no problem details.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=bounds.body_bytes)
    app.add_middleware(errors.Told)
    app.add_middleware(Guard, access=allowed, rates=rates)
    app.add_middleware(Measured, measures=measures)
    for router in routers(routes):
        app.include_router(router, prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(login.router)
    # What comes after may answer every address: those of the API that are none are refused before it is asked.
    every = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]
    app.add_api_route("/api/{path:path}", _nothing, methods=every, include_in_schema=False)
    extend(app)
    return app


def routers(only: Collection[str] | None = None) -> list[APIRouter]:
    """Returns the routers of the files of `routes/`, by name: of all, or of those named that are there."""
    stems = sorted(path.stem for path in (Path(__file__).parent / "routes").glob("*.py") if not path.stem.startswith("_"))
    return [importlib.import_module(f"search.api.routes.{stem}").router for stem in stems if only is None or stem in only]


def _operation(route: APIRoute) -> str:
    return route.name


async def _nothing(path: str, request: Request) -> None:
    """Raises 405 for an address that takes other methods, else 404."""
    allowed: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(f"/api/{path}"):
            allowed |= {method.upper() for method in operations}
    if allowed:
        raise errors.Refused(405, f"it takes {', '.join(sorted(allowed))}", {"Allow": ", ".join(sorted(allowed))})
    raise errors.Refused(404, f"there is nothing at /api/{path[:100]}")
