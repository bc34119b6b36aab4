"""`trimtab --server`: the answers of the command line from a service, and the parts of it that run alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from search.cli import main
from tests.api.asking import LINEAR, REQUEST, Service

pytestmark = pytest.mark.slow

SCENARIO = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"},
    "workload": {
        "prompt_tokens": 200,
        "output_tokens": 20,
        "rate_rps": 5.0,
        "num_requests": 5000,
    },
    "slo": {"ttft_p99_s": 2.0},
    "profiles": LINEAR,
}
TIMED = {"elapsed_s", "created_at", "started_at", "finished_at", "wall_s", "cpu_s"}


@pytest.fixture
def ask(service: Service, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns what a command line prints, of the service with `remote`, else of its store read directly."""

    def asked(*words: str | Path, remote: bool, status: int = 0) -> str:
        before = ["--server", service.url] if remote else []
        assert main([*before, *map(str, words)]) == status, capsys.readouterr().err
        return capsys.readouterr().out if status == 0 else capsys.readouterr().err

    return asked


@pytest.fixture(scope="module")
def store(service: Service) -> str:
    """Returns the URL of the service's store with two studies in it, both searched through the service."""
    place = Path(service.log.name).with_suffix("")
    for name, bound in (("first", 2.0), ("second", 1.0)):
        request = place.parent / f"{name}.yaml"
        request.write_text(yaml.safe_dump({**REQUEST, "name": name, "slo": {"ttft_p99_s": bound}}))
        assert main(["--server", service.url, "search", str(request)]) == 0
    return f"sqlite:///{place}"


@pytest.mark.parametrize("line", ["frontier first", "frontier first --all", "compare first second", "studies"])
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_service_answers_what_its_store_does(ask: Callable[..., str], store: str, line: str, as_json: bool) -> None:
    words = [*line.split(), *(["--json"] if as_json else [])]
    there, here = ask(*words, remote=True), ask(*words, "--db", store, remote=False)
    if as_json:
        assert json.loads(there) == json.loads(here)
    else:
        assert [line for line in there.splitlines() if "stored in" not in line] == [
            line for line in here.splitlines() if "stored in" not in line
        ]


@pytest.mark.parametrize("kind", ["csv", "json", "html"])
def test_an_export_of_a_service_is_that_of_its_store(ask: Callable[..., str], store: str, tmp_path: Path, kind: str) -> None:
    ask("export", "first", tmp_path / f"there.{kind}", remote=True)
    ask("export", "first", tmp_path / f"here.{kind}", "--db", store, remote=False)
    assert (tmp_path / f"there.{kind}").read_text() == (tmp_path / f"here.{kind}").read_text()


@pytest.mark.parametrize("command", ["simulate", "capacity"])
def test_a_short_question_has_the_answer_that_this_machine_gives(ask: Callable[..., str], tmp_path: Path, command: str) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    there, here = (json.loads(ask(command, scenario, "--json", remote=remote)) for remote in (True, False))
    assert without_times(there) == without_times(here)


def test_the_traffic_of_a_trace_goes_along(ask: Callable[..., str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(f"{n},{100 + n},10\n" for n in range(50)))
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(yaml.safe_dump({**SCENARIO, "workload": {"trace": "trace.csv"}}))
    there, here = (json.loads(ask("simulate", scenario, "--json", remote=remote)) for remote in (True, False))
    assert there["metrics"]["requests"] == 50
    assert there["metrics"] == here["metrics"]


def test_the_catalog_of_a_service_is_listed(ask: Callable[..., str]) -> None:
    assert "H100-SXM" in ask("catalog", "devices", remote=True)
    assert ask("catalog", "devices", "H100-SXM", "--json", remote=True) == ask(
        "catalog", "devices", "H100-SXM", "--json", remote=False
    )


def test_what_a_service_cannot_do_is_refused_before_it_is_asked(ask: Callable[..., str], tmp_path: Path) -> None:
    request = tmp_path / "request.yaml"
    request.write_text(yaml.safe_dump(REQUEST))
    assert "--correction: 'c'" in ask("search", request, "--correction", "c", remote=True, status=2)
    assert "study: 'none'" in ask("compare", "none", "first", remote=True, status=2)


def test_each_part_runs_alone(serve: Callable[..., Service]) -> None:
    api, pages = serve("--only", "api"), serve("--only", "dashboard")
    with httpx.Client() as http:
        assert http.get(f"{api.url}/api/v1/studies").status_code == 200
        assert http.get(f"{api.url}/").status_code == 404
        assert http.get(f"{pages.url}/api/v1/studies").status_code == 404
        home = http.get(f"{pages.url}/")
        assert home.status_code == 200 and "<title>Trimtab</title>" in home.text
        # What the pages link to is there, and says what is wrong.
        assert http.get(f"{pages.url}/api/v1/studies/none/export", params={"format": "csv"}).status_code == 404
        assert {http.get(f"{each.url}/readyz").status_code for each in (api, pages)} <= {200, 503}
        assert {http.get(f"{each.url}/healthz").status_code for each in (api, pages)} == {200}


def without_times(document: object) -> object:
    """Returns a document without what depends on the clock."""
    if isinstance(document, dict):
        return {name: without_times(value) for name, value in document.items() if name not in TIMED}
    return [without_times(each) for each in document] if isinstance(document, list) else document
