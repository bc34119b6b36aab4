"""Launching by REST: what `trimtab launch` writes, as downloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from db import queries
from db.session import open_store
from deploy.platforms import names as platform_names
from deploy.platforms import platform
from search import service
from search.api.app import application
from search.cli import main
from search.request import SearchRequest
from tests.api.asking import REQUEST


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Returns a store with a study, and the number of its best trial."""
    path = tmp_path_factory.mktemp("launch") / "studies.db"
    study = service.run_search(SearchRequest.parse(REQUEST), db=str(path), executor="inline")
    with open_store(path) as store:
        return path, queries.frontier(store, study)[0].trial.number


@pytest.fixture(scope="module")
def web(place: tuple[Path, int]) -> Iterator[TestClient]:
    """Yields the application on that store."""
    with TestClient(application(str(place[0])), raise_server_exceptions=False) as opened:
        yield opened


def test_engines_are_listed_with_what_they_cannot_be_told(web: TestClient, place: tuple[Path, int]) -> None:
    items = web.get(f"/api/v1/studies/small/trials/{place[1]}/launch").json()["items"]
    found = {each["engine"]: each for each in items}
    assert found["vllm"] == {"engine": "vllm", "file": "vllm.sh", "refused": None}
    assert found["sglang"]["file"] is None and "engine: 'vllm-0.19'" in found["sglang"]["refused"]


@pytest.mark.parametrize("on", [None, *platform_names()])
def test_a_download_is_what_the_command_line_prints(
    web: TestClient, place: tuple[Path, int], on: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["launch", "small", str(place[1]), "--engine", "vllm", *(["--on", on] if on else [])]
    file = "vllm.sh" if on is None else f"vllm.{platform(on).FILE}"
    assert main([*words, "--db", f"sqlite:///{place[0]}"]) == 0
    printed = capsys.readouterr().out
    found = web.get(f"/api/v1/studies/small/trials/{place[1]}/launch/vllm", params={"on": on} if on else {})
    assert found.text == printed
    assert f'filename="{file}"' in found.headers["content-disposition"]
    if on is not None:
        assert "&id" not in printed, "an anchor ties two places of a file together"
        assert all(isinstance(each, dict) for each in yaml.safe_load_all(found.text))


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("small/trials/0/launch/none", {}, 422),
        ("small/trials/999/launch/vllm", {}, 404),
        ("none/trials/0/launch", {}, 404),
        ("small/trials/0/launch/vllm", {"on": "moon"}, 422),
        ("small/trials/0/launch/vllm", {"on": "compose", "image": "x; rm -rf /"}, 422),
        ("small/trials/0/launch/torch", {"on": "compose"}, 422),
    ],
)
def test_what_cannot_be_launched_is_refused(web: TestClient, path: str, query: dict[str, str], status: int) -> None:
    found = web.get(f"/api/v1/studies/{path}", params=query)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"


def test_the_load_test_is_what_the_command_line_prints(
    web: TestClient, place: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", "small", str(place[1]), "--load-test", "--db", f"sqlite:///{place[0]}"]) == 0
    found = web.get(f"/api/v1/studies/small/trials/{place[1]}/load-test")
    assert found.text == capsys.readouterr().out and 'filename="load-test.sh"' in found.headers["content-disposition"]
    assert web.get("/api/v1/studies/small/trials/99/load-test").status_code == 404
