"""`trimtab sweep`: what is planted is caught and named, clean nights are quiet, and two reports are never mixed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import simulator.schedulers
from search import capacity, driver
from search.cli import main
from search.sweep import searches
from search.sweep.suite import read
from simulator import catalog
from simulator.optime import profile
from tests.search.nursery import LEVELS
from tests.shared import REPOSITORY

GATE_UP = {"operator": "gemm", "n": 28672, "k": 4096, "dtype": "bfloat16", "weight_dtype": "bfloat16"}
ROWS = (1, 8, 64, 256, 512, 1024, 2048, 4096)
LIMITS = {"max_num_batched_tokens": 2048, "max_num_seqs": 128, "max_model_len": 8192}
BOOK = {
    "date": "2026-11-01",
    "instances": [
        {"name": "one", "provider": "Here", "device": "H100-SXM", "gpus": 1, "on_demand_usd_per_hour": 4.0, "source": "us"},
        {"name": "one", "provider": "Here", "device": "L40S", "gpus": 1, "on_demand_usd_per_hour": 1.5, "source": "us"},
    ],
    "sources": {"us": "made up for a test"},
}
Document = dict[str, Any]


class Lab:
    """A folder with a suite, and what may be planted in it between two nights."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.suite = folder, capsys, folder / "suite.yaml"
        self.operators()
        self.trace()
        self.book()
        self.scheduler("vllm_v1")
        self.write(self.plain())

    def plain(self) -> Document:
        own = [{"source": "own", "path": "own.parquet"}, {"source": "roofline"}]
        base = {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM", **LIMITS}
        slo = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}
        steady = {"prompt_tokens": {"fixed": 600}, "output_tokens": {"lognormal": {"median": 150, "sigma": 0.6, "max": 900}}}
        common = {"slo": slo, "prices": "book.yaml", "profiles": own}
        return {
            "name": "lab",
            "prices": [{"name": "prices", "book": "book.yaml"}],
            "scenarios": [
                {"name": "replayed", "scenario": {"deployment": base, "workload": {"trace": "trace.csv"}, **common}, "seeds": [0]},
                {
                    "name": "drawn",
                    "scenario": {
                        "deployment": {**base, "scheduler": "planted"},
                        "workload": {**steady, "num_requests": 1500, "rate_rps": 12},
                        **common,
                    },
                },
                {
                    "name": "limit",
                    "ask": "capacity",
                    "seeds": [0],
                    "scenario": {"deployment": base, "workload": {**steady, "num_requests": 5000}, **common},
                },
            ],
        }

    def write(self, suite: Document) -> None:
        self.suite.write_text(yaml.safe_dump(suite), encoding="utf-8")

    def operators(self, factor: float = 1.0) -> None:
        rows = [{**GATE_UP, "rows": float(n), "seconds": factor * (2e-4 + n * 4e-7)} for n in ROWS]
        path = self.folder / "own.parquet"
        profile.write(path, rows, "H100-SXM", {"name": "lab"})
        # A profile is read once for each time of its file.
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    def trace(self, longer: float = 1.0) -> None:
        lines = ["arrived_at,num_prefill_tokens,num_decode_tokens"]
        lines += [f"{i * 0.12:.3f},{300 + 37 * i % 500},{round(longer * (60 + 53 * i % 240))}" for i in range(1200)]
        (self.folder / "trace.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # A process draws a workload once, and a night is a process of its own.
        capacity._drawn.cache_clear()

    def book(self, h100: float = 4.0) -> None:
        book = json.loads(json.dumps(BOOK))
        book["instances"][0]["on_demand_usd_per_hour"] = h100
        (self.folder / "book.yaml").write_text(yaml.safe_dump(book), encoding="utf-8")

    def scheduler(self, like: str) -> None:
        (self.folder / "planted.py").write_text(
            f'"""A policy of the house."""\n\nfrom simulator.schedulers.{like} import *  # noqa: F403\n', encoding="utf-8"
        )
        sys.modules.pop("simulator.schedulers.planted", None)

    def night(self, *options: str, status: int) -> Document:
        self.capsys.readouterr()
        assert main(["sweep", str(self.suite), "--db", str(self.folder / "s.db"), "--json", *options]) == status
        found: Document = json.loads(self.capsys.readouterr().out)
        return found

    def approve(self, name: str = "main") -> None:
        argv = ["sweep", "approve", "last", "--baseline", name, "--reason", "it is right", "--db", str(self.folder / "s.db")]
        assert main(argv) == 0


@pytest.fixture
def fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Returns a lab in which no night has passed."""
    names = catalog.names("schedulers")
    monkeypatch.setattr(simulator.schedulers, "__path__", [*simulator.schedulers.__path__, str(tmp_path)])
    known: Callable[[str], tuple[str, ...]] = catalog._modules
    monkeypatch.setattr(catalog, "_modules", lambda kind: (*names, "planted") if kind == "schedulers" else known(kind))
    return Lab(tmp_path, capsys)


@pytest.fixture
def lab(fresh: Lab, first_night: list[bytes]) -> Lab:
    """Returns a lab whose first night was approved; that night is the same for all tests and passes once."""
    if not first_night:
        assert fresh.night(status=0)["verdict"] == "first"
        fresh.approve()
        first_night.append((fresh.folder / "s.db").read_bytes())
    else:
        (fresh.folder / "s.db").write_bytes(first_night[0])
    return fresh


@pytest.fixture(scope="module")
def first_night() -> list[bytes]:
    return []


def by_name(document: Document) -> dict[str, Document]:
    return {case["name"]: case for case in document["predictions"]}


def kinds(case: Document) -> set[str]:
    return {cause["kind"] for cause in case["causes"]}


def test_a_night_without_a_change_is_the_same(lab: Lab) -> None:
    document = lab.night(status=0)
    assert document["verdict"] == "same" and document["summary"]["findings"] == 0


def test_a_slow_down_in_one_operator_table_is_named(lab: Lab) -> None:
    lab.operators(1.05)
    found = by_name(lab.night(status=1))
    assert found["prices"]["findings"] == []
    for name in ("replayed", "drawn", "limit"):
        case = found[name]
        operators = [each for each in case["findings"] if each["kind"] == "operator"]
        assert [each["what"] for each in operators] == ["gate_up_proj"]
        assert operators[0]["now"] / operators[0]["before"] == pytest.approx(1.05, abs=0.002)
        assert kinds(case) == {"profile"} and "gate_up_proj, +5" in case["why"]
    moved = {each["what"] for each in found["limit"]["findings"] if each["kind"] == "moved"}
    assert "capacity_rps" in moved


def test_a_changed_price_is_named(lab: Lab) -> None:
    lab.book(4.4)
    found = by_name(lab.night(status=1))
    assert [each["kind"] for each in found["prices"]["findings"]] == ["price"]
    for name in ("replayed", "drawn", "limit"):
        assert {each["what"] for each in found[name]["findings"]} == {"usd_per_hour", "usd_per_million_output_tokens"}
        assert kinds(found[name]) == {"price"} and "4 to 4.4 USD an hour" in found[name]["why"]


def test_a_price_of_another_device_concerns_the_book_alone(lab: Lab) -> None:
    book = yaml.safe_load((lab.folder / "book.yaml").read_text())
    book["instances"][1]["on_demand_usd_per_hour"] = 1.6
    (lab.folder / "book.yaml").write_text(yaml.safe_dump(book))
    assert lab.night(status=1)["summary"]["changed"] == ["prices"]


def test_a_changed_scheduler_is_named(lab: Lab) -> None:
    lab.scheduler("vllm_v0")
    document = lab.night(status=1)
    case = by_name(document)["drawn"]
    assert document["summary"]["changed"] == ["drawn"]
    assert "scheduler planted was edited" in case["why"] and "code" in kinds(case)


def test_a_changed_knob_is_named_and_no_operator_that_it_asks_at_other_shapes(lab: Lab) -> None:
    suite = lab.plain()
    suite["scenarios"][1]["scenario"]["deployment"] |= {"max_num_batched_tokens": 512}
    lab.write(suite)
    case = by_name(lab.night(status=1))["drawn"]
    assert "deployment: max_num_batched_tokens, 2048 to 512" in case["why"] and kinds(case) <= {"deployment", "suite"}
    assert not [each for each in case["findings"] if each["kind"] == "operator"]


def test_a_shifted_trace_is_named(lab: Lab) -> None:
    lab.trace(1.1)
    document = lab.night(status=1)
    case = by_name(document)["replayed"]
    assert document["summary"]["changed"] == ["replayed"]
    assert "output_tokens_mean" in {each["what"] for each in case["findings"]} and kinds(case) == {"workload"}


def test_of_two_causes_each_is_weighed_by_putting_it_back(lab: Lab) -> None:
    lab.operators(1.05)
    lab.book(4.4)
    case = by_name(lab.night(status=1))["drawn"]
    assert kinds(case) == {"profile", "price"}
    told = {cause["kind"]: cause for cause in case["causes"]}
    moved = [each["what"] for each in case["findings"] if each["kind"] == "moved"]
    assert told["profile"]["explains"] == len([name for name in moved if not name.startswith("usd")])
    assert 1 <= told["price"]["explains"] < told["price"]["of"] == len(moved)


def test_what_was_approved_is_the_baseline_from_then_on(lab: Lab) -> None:
    lab.book(4.4)
    changed = lab.night(status=1)
    lab.approve()
    again = lab.night(status=0)
    assert again["baseline_run"] == changed["id"]
    lab.approve("other")
    assert lab.night("--baseline", "other", status=0)["baseline_run"] == again["id"]
    lab.capsys.readouterr()
    assert main(["sweep", "show", changed["id"], "--json", "--db", str(lab.folder / "s.db")]) == 0
    approval = json.loads(lab.capsys.readouterr().out)["approvals"][0]
    assert approval["reason"] == "it is right" and approval["approved_by"]


@pytest.fixture
def searching(fresh: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Returns a lab whose suite is one search over two devices, with short runs; its first night was approved."""
    for name, fidelity in LEVELS.items():
        monkeypatch.setattr(driver, name, fidelity)
    monkeypatch.setattr(searches, "FINAL", LEVELS["FINAL"])
    space = {"device": ["H100-SXM", "L40S"], **LIMITS}
    request = {
        "name": "two devices",
        "model": "meta-llama/Llama-3.1-8B",
        "workload": {"preset": "chat"},
        "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
        "prices": "book.yaml",
        "profiles": [{"source": "roofline"}],
        "space": {**space, "max_model_len": 16384},
        "budget": {"max_gpus": 1, "trials": 4},
    }
    fresh.write({"name": "lab", "searches": [{"name": "cheapest", "request": request, "seed": 3}]})
    fresh.night("--executor", "inline", status=0)
    fresh.approve()
    return fresh


def test_a_search_is_the_same_again_and_a_price_that_turns_its_winner_is_named(searching: Lab) -> None:
    assert searching.night("--executor", "inline", status=0)["verdict"] == "same"
    searching.book(40.0)
    case = by_name(searching.night("--executor", "inline", status=1))["cheapest"]
    winner = next(each for each in case["findings"] if each["kind"] == "winner")
    assert winner["before"].startswith("H100-SXM") and winner["now"].startswith("L40S")
    assert kinds(case) == {"price"} and "4 to 40 USD an hour" in case["why"]


def test_a_search_without_an_answer_is_a_finding(searching: Lab) -> None:
    suite = yaml.safe_load(searching.suite.read_text())
    suite["searches"][0]["request"]["slo"] = {"ttft_p99_s": 0.0001}
    searching.write(suite)
    case = by_name(searching.night("--executor", "inline", status=1))["cheapest"]
    assert case["state"] == "infeasible" and {each["kind"] for each in case["findings"]} == {"state"}
    assert "suite" in kinds(case)


def test_the_example_is_a_suite_of_few_cases() -> None:
    suite = read(REPOSITORY / "examples" / "nightly.yaml")
    assert {type(case).__name__ for case in suite.cases()} == {"PricesCase", "ScenarioCase", "SearchCase", "AccuracyCase"}


def test_feasible_to_infeasible_is_a_finding(lab: Lab) -> None:
    suite = lab.plain()
    suite["scenarios"][2]["scenario"]["slo"] = {"ttft_p99_s": 0.001}
    lab.write(suite)
    case = by_name(lab.night(status=1))["limit"]
    assert case["state"] == "infeasible" and case["findings"][0]["kind"] == "state"
    assert kinds(case) == {"suite"}


@pytest.mark.slow
def test_ten_clean_nights_with_other_seeds_raise_no_alarm(lab: Lab) -> None:
    found = [lab.night("--seed-shift", str(1000 * night), status=0) for night in range(1, 11)]
    assert [each["summary"]["findings"] for each in found] == [0] * 10
    assert len({json.dumps(by_name(each)["drawn"]["numbers"]) for each in found}) == 10, "the seeds were others"


def test_what_one_seed_says_is_not_held_against_other_seeds(fresh: Lab) -> None:
    suite = fresh.plain()
    drawn = suite["scenarios"][1]["scenario"]
    resampled = {**drawn, "workload": {"trace": "trace.csv"}}
    suite["scenarios"] = [
        {"name": "one seed", "seeds": [0], "scenario": drawn},
        {"name": "resampled", "ask": "capacity", "seeds": [0], "scenario": resampled},
    ]
    fresh.write(suite)
    fresh.night(status=0)
    fresh.approve()
    for shift in ("1", "2", "3"):
        assert fresh.night("--seed-shift", shift, status=0)["summary"]["changed"] == []
    fresh.trace(1.1)
    assert fresh.night(status=1)["summary"]["changed"] == ["resampled"]


def test_with_other_seeds_a_large_change_is_still_seen(lab: Lab) -> None:
    lab.operators(4.0)
    case = by_name(lab.night("--seed-shift", "5", status=1))["limit"]
    assert "capacity_rps" in {each["what"] for each in case["findings"]}


def test_accuracy_never_fails_a_run_and_is_no_test_case(lab: Lab, tmp_path: Path) -> None:
    suite = lab.plain()
    suite["accuracy"] = [{"name": "measured", "sets": ["memory"], "data": "nowhere"}]
    lab.write(suite)
    junit, page = tmp_path / "j.xml", tmp_path / "m.md"
    document = lab.night("--junit", str(junit), "--markdown", str(page), status=0)
    assert document["accuracy"][0]["scored"] is False and "measured" not in by_name(document)
    suites = ElementTree.parse(junit).getroot()
    assert suites.attrib["failures"] == "0" and len(suites.findall(".//testcase")) == 4
    predicted, accurate = page.read_text().split("## Are we accurate?")
    assert "replayed" in predicted and "measured" not in predicted and "measured" in accurate


def test_the_files_tell_what_failed_and_why(lab: Lab, tmp_path: Path) -> None:
    lab.book(4.4)
    junit, page = tmp_path / "j.xml", tmp_path / "m.md"
    lab.night("--junit", str(junit), "--markdown", str(page), "--only", "prices", status=1)
    failure = ElementTree.parse(junit).getroot().find(".//failure")
    assert failure is not None and "Here one" in failure.attrib["message"] and "why: price" in str(failure.text)
    assert "predictions changed" in page.read_text() and "+10.00%" in page.read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "name: ''"),
        ({"scenarios": [], "prices": []}, "suite: 'lab'"),
        ({"tolerances": {"speed": 1}}, "tolerances.speed (unknown field)"),
        ({"accuracy": [{"name": "a", "sets": ["nothing"]}]}, "accuracy.0.sets.0: 'nothing'"),
        ({"prices": [{"name": "drawn", "book": "book.yaml"}]}, "scenarios.1.name: 'drawn'"),
        ({"prices": [{"name": "p", "book": "cloud-1999-01"}]}, "prices.0.book: 'cloud-1999-01'"),
        ({"searches": [{"name": "s", "request": "absent.yaml"}]}, "searches.0.request"),
    ],
)
def test_wrong_suites_are_told_in_one_line(fresh: Lab, change: Document, told: str) -> None:
    fresh.write({**fresh.plain(), **change})
    assert main(["sweep", str(fresh.suite), "--db", str(fresh.folder / "s.db")]) == 2
    captured = fresh.capsys.readouterr()
    assert captured.err.startswith(told) and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["approve", "r-none", "--baseline", "main", "--reason", "x"], "RUN: 'r-none'"),
        (["approve", "last", "--baseline", "main", "--reason", " "], "--reason: ' '"),
        (["show", "r-none"], "RUN: 'r-none'"),
        (["suite.yaml", "--seed-shift", "-1"], "--seed-shift: -1"),
        (["suite.yaml", "--baseline", "absent"], "--baseline: 'absent'"),
        (["suite.yaml", "--only", "nothing"], "--only: 'nothing'"),
        (["absent.yaml"], "file: 'absent.yaml'"),
    ],
)
def test_wrong_options_are_told_in_one_line(lab: Lab, monkeypatch: pytest.MonkeyPatch, argv: list[str], told: str) -> None:
    monkeypatch.chdir(lab.folder)
    lab.capsys.readouterr()
    assert main(["sweep", *argv, "--db", "s.db"]) == 2
    captured = lab.capsys.readouterr()
    assert captured.err.startswith(told) and captured.err.count("\n") == 1
