from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dashboard.report import write_report
from dashboard.report.json_text import json_text
from dashboard.report.page import render
from dashboard.words import TIMES
from db.rows import StudyRow, TrialRow, ValidationRow
from simulator.errors import InputError

if TYPE_CHECKING:
    from tests.dashboard.conftest import Stored

HOSTILE = '</title><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} & "quoted"'


class Page(HTMLParser):
    """The elements of a page with their attributes, its text outside scripts and styles, and its scripts by type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._open: dict[str, str | None] | None = None
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open, self._inside = dict(attrs), ""

    def handle_data(self, data: str) -> None:
        if self._open is None:
            self.text += data
        else:
            self._inside += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.scripts.append((self._open or {}, self._inside))
        if tag in ("script", "style"):
            self._open = None


@pytest.fixture(scope="session")
def text(stored: Stored) -> str:
    return render(stored.study, stored.trials, stored.points)


@pytest.fixture(scope="session")
def page(text: str) -> Page:
    return Page(text)


def data_of(page: Page) -> dict[str, Any]:
    return {str(a["id"]): json.loads(body) for a, body in page.scripts if a.get("type") == "application/json"}


def test_the_page_loads_nothing(page: Page, text: str) -> None:
    loads = [
        (tag, name, attrs[name])
        for tag, attrs in page.elements
        for name in ("src", "href", "srcset", "data", "action")
        if attrs.get(name)
    ]
    assert loads == [("link", "href", "data:,")]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_plotly_is_inlined_once_and_only_the_pages_own_scripts_may_run(page: Page) -> None:
    running = [body for attrs, body in page.scripts if attrs.get("type") != "application/json"]
    assert len(running) == 2
    assert sum("plotly.js v" in body[:500] for body in running) == 1
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in running}
    directives = {part.split()[0]: set(part.split()[1:]) for part in policy.split(";")}
    assert directives["script-src"] == hashes
    assert directives["default-src"] == {"'none'"}


def test_no_element_carries_a_handler(page: Page) -> None:
    assert not [(tag, name) for tag, attrs in page.elements for name in attrs if name.startswith("on")]


@pytest.mark.parametrize("field", ["name", "model", "prices", "preset", "sentence", "note", "version"])
def test_text_of_the_study_is_inert(field: str, study: Callable[..., StudyRow]) -> None:
    request, given = dict(study().request), dict[str, Any]()
    match field:
        case "name":
            given["name"] = HOSTILE
        case "model" | "prices":
            request[field] = HOSTILE
        case "preset":
            request["workload"] = {"preset": HOSTILE}
        case "sentence":
            given["summary"] = {"sentence": HOSTILE}
        case "note":
            given["summary"] = {"notes": [HOSTILE], "sampler": HOSTILE, "dropped": {HOSTILE: 3}}
        case "version":
            given["versions"] = {"trimtab": HOSTILE, HOSTILE: "1"}
    check_inert(Page(render(study(request=request, **given), [], [])))


@pytest.mark.parametrize("field", ["reason", "device", "scheduler", "source", "provider"])
def test_text_of_a_trial_is_inert(field: str, study: Callable[..., StudyRow], stored: Stored) -> None:
    item = stored.points[0]
    origin = {"source": HOSTILE, "kind": HOSTILE, "versions": {HOSTILE: HOSTILE}, "points": {}}
    changes: dict[str, Any] = {
        "reason": {"reason": HOSTILE, "state": "infeasible"},
        "device": {"deployment": {**item.trial.deployment, "device": HOSTILE}},
        "scheduler": {"deployment": {**item.trial.deployment, "scheduler": HOSTILE}},
        "source": {"provenance": {"operators": {HOSTILE: origin}}},
        "provider": {"bill": {**(item.trial.bill or {}), "provider": HOSTILE, "instance": HOSTILE}},
    }
    trial = replace(item.trial, **changes[field])
    first = replace(item, trial=trial, point=replace(item.point, on_frontier=True, rank=1))
    page = Page(render(study(), [trial], [first, *stored.points[1:20]]))
    check_inert(page)
    for chart in (found for name, found in data_of(page).items() if name != "settings"):
        assert not re.search(r"<(?!/?(b|br|span|extra)\b)", json.dumps(chart)), "Plotly reads these as markup"


def check_inert(page: Page) -> None:
    """Asserts that the hostile text is shown as it is and has become no element and no script."""
    assert "alert(1)" in page.text
    assert "{{ 7*7 }}" in page.text
    assert len([1 for attrs, _ in page.scripts if attrs.get("type") != "application/json"]) == 2
    assert not [attrs for tag, attrs in page.elements if tag == "img"]


def test_data_cannot_end_its_script() -> None:
    assert "<" not in json_text({"a": HOSTILE, "b": "\u2028"})
    assert json.loads(json_text({"a": HOSTILE, "b": "\u2028"})) == {"a": HOSTILE, "b": "\u2028"}


def test_the_answer_names_deployment_price_interval_and_bound(page: Page) -> None:
    sentence = (
        f"The cheapest deployment is 2 {TIMES} A100-80G-SXM, TP 2: it serves 18.7 requests/s at $0.221 per million output tokens, "
        "$3.58 an hour; its capacity is 18.7 requests/s (95% interval 18.2 to 19.3), bound by TTFT p99."
    )
    assert sentence in page.text
    assert "trimtab frontier s-1a2b3c4d --all" in page.text
    assert "2 other deployments cannot be told apart from it within the interval" in page.text


def test_the_stores_own_sentence_comes_first(stored: Stored, study: Callable[..., StudyRow]) -> None:
    rendered = render(study(summary={"sentence": "Take the second."}), stored.trials, stored.points)
    assert "Take the second." in rendered
    assert "The cheapest deployment is" not in rendered


def test_the_charts_are_the_frontier_the_latencies_and_the_cost(page: Page) -> None:
    charts = data_of(page)
    assert set(charts) == {"settings", "data-frontier", "data-curve-ttft_p99_s", "data-curve-itl_p99_s", "data-cost"}
    assert len(charts["data-curve-ttft_p99_s"]["data"]) == 3
    assert charts["settings"]["config"]["modeBarButtonsToRemove"][0] == "sendChartToCloud"


def test_the_table_has_the_frontier_by_rank(page: Page, stored: Stored) -> None:
    rows = [str(attrs["id"]) for tag, attrs in page.elements if tag == "tr" and str(attrs.get("id", "")).startswith("point-")]
    ranked = sorted((item for item in stored.points if item.point.on_frontier), key=lambda item: item.point.rank or 0)
    assert rows == [f"point-{item.point.id}" for item in ranked]


def test_what_is_ruled_out_stands_there_with_its_reason(page: Page) -> None:
    assert "a request of max_model_len (131,072) needs 8,192 blocks of the KV cache, and there are 1,911" in page.text
    assert "5 deployments" in page.text
    assert "ttft_p99_s is 2.641 s even at 0.061 requests a second" in page.text
    assert "space.tensor_parallel_size: 16 is not allowed" in page.text


def test_reasons_that_differ_in_numbers_stand_together(study: Callable[..., StudyRow], trial: Callable[..., TrialRow]) -> None:
    rows = [trial(n, state="infeasible", reason=f"ttft_p99_s is {n}.5 s, over its limit of 2 s") for n in (3, 4)]
    found = Page(render(study(state="infeasible"), rows, [])).text
    assert "ttft_p99_s is 3.5 s, over its limit of 2 s, and the like" in found
    assert "ttft_p99_s is 4.5 s" in found
    assert "None of 2 deployments tried serves this traffic within the SLO." in found


def test_provenance_tells_kinds_versions_kernel_and_seed(page: Page) -> None:
    for told in (
        "8 % measured, 92 % interpolated",
        "roofline",
        "aiconfigurator-core 0.12.0",
        "51d0c8e2a7b94f36",
        "L40S: 9 operators, 8 roofline, 1 absent.",
    ):
        assert told in page.text


def test_the_request_is_shown_without_the_folders_of_a_machine(study: Callable[..., StudyRow]) -> None:
    request = {**study().request, "workload": {"trace": "/home/ada/secret/trace.csv"}, "prices": "/home/ada/prices.yaml"}
    rendered = render(study(request=request, state="queued"), [], [])
    assert "/home/ada" not in rendered
    assert "trace.csv" in rendered
    assert "prices.yaml" in rendered


def test_a_sized_study_has_no_capacity_and_no_curves(sized: Stored) -> None:
    page = Page(render(sized.study, sized.trials, sized.points))
    assert "serves 40 requests/s" in page.text
    assert "with more load ITL p99 is the first of the SLO's bounds that breaks" in page.text
    assert "Capacity, requests/s" not in page.text
    assert set(data_of(page)) == {"settings", "data-frontier", "data-cost"}


@pytest.mark.parametrize("objectives", [["capacity_rps"], ["ttft_p99_s"], ["capacity_rps", "gpus", "itl_p50_s"]])
def test_a_study_without_prices_has_no_dollars(objectives: list[str], stored: Stored, study: Callable[..., StudyRow]) -> None:
    unpriced = []
    for item in stored.points:
        metrics = {
            **item.point.metrics,
            "usd_per_hour": None,
            "usd_per_million_output_tokens": None,
            "usd_per_million_tokens": None,
        }
        values = {"capacity_rps": item.trial.capacity_rps, "gpus": 1.0, "ttft_p99_s": 0.4, "itl_p50_s": 0.02}
        point = replace(item.point, metrics=metrics, objectives={name: values[name] for name in objectives})
        unpriced.append(replace(item, point=point, trial=replace(item.trial, bill=None)))
    page = Page(render(study(request={**study().request, "objectives": objectives, "prices": None}), stored.trials[:5], unpriced))
    assert "data-frontier" in data_of(page)
    assert "data-cost" not in data_of(page)
    assert "$" not in page.text.replace("Dollars", "")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("queued", "The study waits for a worker."),
        ("running", "No answer yet: deployments are being tried."),
        ("cancelled", "No deployment has been found"),
        ("failed", "No deployment has been found"),
    ],
)
def test_an_unfinished_study_says_so(state: str, said: str, study: Callable[..., StudyRow]) -> None:
    found = Page(render(study(state=state, finished_at=None), [], [])).text
    assert state in found
    assert said in found


def test_what_ran_on_a_real_engine_stands_beside_it(stored: Stored) -> None:
    assert "On a real engine" not in Page(render(stored.study, stored.trials, stored.points)).text
    done = ValidationRow(
        id=1, study_id=stored.study.id, trial_id=stored.trials[0].id, load=0.5, rate_rps=4.0, engine="vllm", device="H100-SXM",
        state="done", started_at=stored.study.created_at, finished_at=stored.study.created_at, errors={"ttft_p50_s": 0.0417},
    )  # fmt: skip
    died = replace(done, id=2, load=0.8, state="faulted", fault_kind="died", fault_reason="<b>the server ended</b>", errors=None)
    found = Page(render(stored.study, stored.trials, stored.points, [(0, done), (0, died)])).text
    assert "On a real engine" in found and "+4.2%" in found
    assert "died: <b>the server ended</b>" in found


def test_one_study_gives_the_same_bytes(stored: Stored, text: str) -> None:
    assert render(stored.study, list(stored.trials), list(stored.points)) == text


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path, study: Callable[..., StudyRow]) -> None:
    path = tmp_path / "study.html"
    path.write_text("old")
    write_report(path, study(name="neu ∂"), [], [])
    assert "<bdi>neu ∂</bdi>" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["study.html"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_mask()


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["absent/study.html", "file/study.html", "folder"])
def test_a_path_that_cannot_be_written_is_refused_in_one_line(name: str, tmp_path: Path, study: Callable[..., StudyRow]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as refused:
        write_report(tmp_path / name, study(), [], [])
    assert refused.value.field == "--html"
    assert "\n" not in str(refused.value)


def test_a_full_disk_keeps_the_old_page(tmp_path: Path, study: Callable[..., StudyRow], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.html"
    path.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(path, study(), [], [])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["study.html"]


def test_ids_are_unique(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z][\w-]*", str(found)) for found in ids)
