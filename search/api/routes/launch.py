"""Launching: a trial as scripts that serve it, one for each engine that can be told all of its knobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from search import launch as launches
from search import loadtest
from search.api.access import require
from search.api.errors import documented
from search.api.models import Document
from search.api.state import READABLE, Opened, StudyPath, answer
from simulator.errors import InputError, unknown_name

router = APIRouter(tags=["launch"], dependencies=[Depends(require("read"))])
MOST = 2**31 - 1
Number = Annotated[int, Path(ge=0, le=MOST, description="The trial's number.")]
SCRIPT: dict[int | str, dict[str, object]] = {
    200: {
        "description": "A shell script, or YAML.",
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/x-shellscript", "application/yaml")},
    }
}
REFUSED = documented(401, 403, 404, 409, 422, 429, 503)


class Launchable(Document):
    """An engine: the file that serves a trial on it, or why there is none."""

    engine: str
    file: str | None
    refused: str | None


class Launches(Document):
    """The engines, by name."""

    items: list[Launchable]


@router.get("/studies/{study}/trials/{number}/launch", response_model=Launches, responses=REFUSED)
def listed(study: StudyPath, number: Number, service: Opened) -> Response:
    """The engines that a trial can be served on, and for each that it cannot the knob that it cannot be told."""
    items = []
    for engine in launches.engines():
        try:
            launches.script(service.store, study, number, engine)
        except InputError as error:
            if error.field in ("study", "trial"):
                raise
            items.append({"engine": engine, "file": None, "refused": str(error)})
        else:
            items.append({"engine": engine, "file": f"{engine}.sh", "refused": None})
    return answer({"items": items})


@router.get("/studies/{study}/trials/{number}/launch/{engine}", response_class=Response, responses={**REFUSED, **SCRIPT})
def script(
    study: StudyPath,
    number: Number,
    engine: Annotated[str, Path(max_length=50, pattern=READABLE)],
    service: Opened,
    on: Annotated[
        str | None, Query(max_length=50, description="All replicas, as YAML: kubernetes, compose, ray_serve, llm_d or dynamo.")
    ] = None,
    image: Annotated[str | None, Query(max_length=255, description="The image that has the engine.")] = None,
    prefill: Annotated[
        int | None, Query(ge=0, le=MOST, description="The trial that reads the prompts, on llm_d or dynamo.")
    ] = None,
) -> Response:
    """The script that serves one replica on an engine, or the YAML of a platform, as `trimtab launch` writes them."""
    if engine not in launches.engines():
        raise unknown_name("engine", engine, launches.engines())
    if on is None:
        text, kind = launches.script(service.store, study, number, engine), "text/x-shellscript"
    else:
        text, kind = (
            launches.manifest(service.store, study, number, engine, launches.On(on, image, prefill=prefill)),
            "application/yaml",
        )
    headers = {"Content-Disposition": f'attachment; filename="{launches.file_of(engine, on)}"'}
    return Response(text, media_type=kind, headers=headers)


@router.get("/studies/{study}/trials/{number}/load-test", response_class=Response, responses={**REFUSED, **SCRIPT})
def load_test(study: StudyPath, number: Number, service: Opened) -> Response:
    """The script that sends a trial's workload at its published rate to whatever serves it, and compares."""
    text = loadtest.script(service.store, study, number)
    headers = {"Content-Disposition": f'attachment; filename="{loadtest.FILE}"'}
    return Response(text, media_type="text/x-shellscript", headers=headers)
