"""The command line: what it calls, where it prints, and with which status it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from db import record
from db.rows import PointResult, TrialResult, TrialRow
from db.session import open_store
from search import answers, service
from search.cli import main
from search.driver import Stopped
from search.progress import Interrupt, Progress, Reporter, duration
from search.request import SearchRequest
from simulator.errors import Infeasible, StoreError

Make = Callable[..., Any]
ROOT = Path(__file__).parents[2]
REQUEST = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "space": {"device": "H100-SXM"},
}
SCENARIO = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM", "max_model_len": 8192},
    "workload": {"preset": "chat", "rate_rps": 4.0, "num_requests": 100},
    "slo": {"ttft_p99_s": 2.0, "itl_max_s": 1.0},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DB", raising=False)


@pytest.fixture
def request_file() -> str:
    """Returns the path of a search request."""
    Path("request.yaml").write_text(yaml.safe_dump(REQUEST))
    return "request.yaml"


@pytest.fixture
def scenario_file() -> str:
    """Returns the path of a scenario."""
    Path("scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
    return "scenario.yaml"


def stored(db: str, trials: list[TrialRow], state: str = "done", request: SearchRequest | None = None) -> str:
    """Returns the id of a study that was written to a store: its done trials have a point each."""
    asked = request or SearchRequest.parse(REQUEST)
    names = {item.name for item in fields(TrialResult)}
    with open_store(db) as store:
        row = record.create_study(
            store,
            name=asked.name,
            digest=asked.digest(),
            request=asked.model_dump(mode="json"),
            seed=asked.seed,
            versions={},
            kernel_digest="k0",
        )
        record.start_study(store, row.id)
        for rank, trial in enumerate(trials, 1):
            made = PointResult(rate_rps=12.3, metrics=_metrics(trial), objectives=_objectives(rank), on_frontier=True, rank=rank)
            result = TrialResult(**{name: getattr(trial, name) for name in names})
            record.upsert_trial(store, row.id, result, [made] if trial.state == "done" else [])
        if state != "running":
            record.finish_study(store, row.id, state)  # type: ignore[arg-type]
    return row.id


def _metrics(trial: TrialRow) -> dict[str, Any]:
    measured: dict[str, Any] = trial.curve[0]["metrics"]
    return measured


def _objectives(rank: int) -> dict[str, float]:
    return {"usd_per_million_output_tokens": 0.5 + rank / 10, "ttft_p99_s": 1.5 - rank / 10}


# search


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, trial: Make) -> Iterator[list[dict[str, Any]]]:
    """Yields what the service is called with; the study that it stores has two trials on the frontier and a late one."""
    calls: list[dict[str, Any]] = []

    def run(request: SearchRequest, *, report: Callable[[Progress], None], **given: Any) -> str:
        calls.append({"request": request, **given})
        report(Progress("screen", 1, 3, "1x H100-SXM", 0.1, 2.0, "threads: as asked"))
        return stored(given["db"], [trial(0), trial(1), trial(2, state="infeasible", reason="too slow")], request=request)

    monkeypatch.setattr(service, "run_search", run)
    yield calls


def test_search_prints_the_frontier_and_reports_on_standard_error(
    searched: list[Any], request_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", request_file]) == 0
    out, err = capsys.readouterr()
    assert "1x H100-SXM TP1" in out and "$0.700" in out
    assert "infeasible: 1 trial, since too slow" in out
    assert err.splitlines()[0] == "threads: as asked"
    assert err.splitlines()[1].startswith("screen: 1 of 3 trials, about 2.0 s left, best so far: 1x H100-SXM")
    assert Path("trimtab.db").exists()


def test_search_hands_its_options_on(searched: list[Any], request_file: str) -> None:
    db = f"sqlite:///{Path('mine.db').absolute()}"
    options = ["--db", db, "--trials", "7", "--seed", "3", "--executor", "inline", "--address", "local"]
    assert main(["search", request_file, *options]) == 0
    call = searched[0]
    assert (call["request"].budget.trials, call["request"].seed) == (7, 3)
    assert (call["db"], call["executor"], call["address"]) == (db, "inline", "local")


def test_the_store_may_be_named_by_the_environment(searched: list[Any], request_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_DB", "sqlite:///named.db")
    assert main(["search", request_file]) == 0
    assert searched[0]["db"] == "sqlite:///named.db"


def test_search_json_is_one_document_with_the_items_in_order(
    searched: list[Any], request_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", request_file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["study"]["state"] == "done"
    assert [item["rank"] for item in document["items"]] == [1, 2]


def test_the_same_study_gives_the_same_bytes_but_for_its_id(
    searched: list[Any], request_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for name in ("one.db", "two.db"):
        assert main(["search", request_file, "--json", "--db", name]) == 0
        texts.append(re.sub(r'"id": "s-[0-9a-f]{8}"', '"id": ""', capsys.readouterr().out))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_an_interrupted_search_says_what_is_kept_and_ends_with_130(
    error: type[BaseException],
    request_file: str,
    trial: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(request: SearchRequest, *, db: str, **given: Any) -> str:
        stored(db, [trial(0), trial(1)], "cancelled", request)
        raise error

    monkeypatch.setattr(service, "run_search", run)
    assert main(["search", request_file, "--json"]) == 130
    assert capsys.readouterr() == ("", "interrupted: kept 2 trials; the same command resumes\n")


def test_a_search_interrupted_before_there_is_a_store_keeps_nothing(
    request_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "run_search", _raiser(KeyboardInterrupt()))
    assert main(["search", request_file]) == 130
    assert "kept 0 trials" in capsys.readouterr().err


def test_a_search_without_an_answer_ends_with_1_and_one_line(
    request_file: str, trial: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(request: SearchRequest, *, db: str, **given: Any) -> str:
        stored(db, [trial(0, state="infeasible", reason="too slow")], "infeasible", request)
        raise Infeasible("none of 1 deployments keeps the SLO")

    monkeypatch.setattr(service, "run_search", run)
    assert main(["search", request_file, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["study"]["state"] == "infeasible"
    assert json.loads(out)["items"] == []
    assert err == "none of 1 deployments keeps the SLO\n"


def test_a_store_that_fails_ends_with_1_and_one_line(
    request_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "run_search", _raiser(StoreError("the store cannot be written:\nthe disk is full")))
    assert main(["search", request_file]) == 1
    assert capsys.readouterr().err == "the store cannot be written: the disk is full\n"


def _raiser(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **given: Any) -> Any:
        raise error

    return fail


# simulate and capacity


def test_simulate_json_has_metrics_deployment_and_provenance(scenario_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", scenario_file, "--json"]) == 0
    first = capsys.readouterr().out
    document = json.loads(first)
    assert list(document) == ["metrics", "deployment", "provenance", "expected_error"]
    assert document["metrics"]["requests"] == 100
    assert document["deployment"]["scheduler"] == "vllm_v1"
    assert main(["simulate", scenario_file, "--json"]) == 0
    assert capsys.readouterr().out == first


def test_simulate_tells_latencies_cost_and_the_verdict(scenario_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", scenario_file]) == 0
    out = capsys.readouterr().out
    assert re.search(r"mean +p50 +p90 +p95 +p99 +max", out)
    assert re.search(r"^TTFT +\d", out, re.MULTILINE)
    assert "100 requests in" in out and "per million output tokens" in out and "goodput" in out
    assert "operator times: " in out and "roofline (roofline) for" in out
    assert re.search(r"SLO ttft_p99_s <= 2 s: [\d.]+ ms, met", out)
    assert "SLO itl_max_s" not in out


def test_simulate_writes_one_row_a_request(scenario_file: str) -> None:
    assert main(["simulate", scenario_file, "--requests", "out.csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))
    assert list(rows[0]) == [
        "request_id", "arrived_at_s", "num_prefill_tokens", "num_decode_tokens", "replica", "first_scheduled_s",
        "first_token_s", "finished_s", "preemptions", "cached_tokens", "rejected",
    ]  # fmt: skip
    assert [int(row["request_id"]) for row in rows] == list(range(100))
    times = [[float(row[name]) for name in ("arrived_at_s", "first_scheduled_s", "first_token_s", "finished_s")] for row in rows]
    assert all(row == sorted(row) for row in times)
    assert {(row["replica"], row["rejected"], row["cached_tokens"]) for row in rows} == {("0", "0", "0")}


def test_a_rejected_request_has_no_times_and_fails_the_slo(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,5\n1.5,9000,5\n")
    Path("s.yaml").write_text(yaml.safe_dump({**SCENARIO, "workload": {"trace": "t.csv"}}))
    assert main(["simulate", "s.yaml", "--requests", "out.csv"]) == 0
    served, rejected = csv.DictReader(io.StringIO(Path("out.csv").read_text()))
    assert (served["arrived_at_s"], served["rejected"], served["replica"]) == ("0.5", "0", "0")
    assert (rejected["arrived_at_s"], rejected["rejected"]) == ("1.5", "1")
    assert [rejected[name] for name in ("replica", "first_scheduled_s", "first_token_s", "finished_s")] == ["", "", "", ""]
    out = capsys.readouterr().out
    assert "1 rejected" in out
    assert "SLO missed: the 1 rejected requests count as infinitely slow" in out


def test_what_does_not_fit_ends_with_1_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = {"model": "meta-llama/Llama-3.1-70B", "device": "L4"}
    Path("s.yaml").write_text(yaml.safe_dump({**SCENARIO, "deployment": small}))
    assert main(["simulate", "s.yaml", "--requests", "out.csv"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert not Path("out.csv").exists()
    assert "GB missing on each GPU" in err


def test_capacity_prints_the_services_document(
    scenario_file: str, measured: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = {"rate_rps": 9.0, "metrics": measured()}
    document = {"capacity_rps": {"value": 9.0, "low": 8.5, "high": 9.5, "level": 0.95}, "binding": "ttft_p99_s", "curve": [point]}
    monkeypatch.setattr(answers, "run_capacity", lambda scenario: document)
    assert main(["capacity", scenario_file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document
    assert main(["capacity", scenario_file]) == 0
    assert "capacity 9.00 req/s, 95 % interval [8.50, 9.50]" in capsys.readouterr().out


# What is stored


def test_studies_frontier_and_export_read_a_store(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    study = stored("trimtab.db", [trial(0), trial(1)])
    assert main(["studies"]) == 0
    assert study in capsys.readouterr().out
    assert main(["studies", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["id"] == study
    assert main(["frontier", "chat-8b"]) == 0
    assert "1x H100-SXM TP1" in capsys.readouterr().out
    assert main(["frontier", study[:5], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"]["id"] == study
    assert main(["frontier", study, "--all"]) == 0


def test_the_list_goes_on_where_the_cursor_says(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = (stored("trimtab.db", [trial(0)], request=SearchRequest.parse({**REQUEST, "seed": n})) for n in (1, 2))
    assert main(["studies", "--json", "--limit", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert ([item["id"] for item in document["items"]], document["next_cursor"]) == ([newer], newer)
    assert main(["studies", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert ([item["id"] for item in document["items"]], document["next_cursor"]) == ([newer, older], None)


def test_export_writes_to_a_file_or_to_standard_output(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    study = stored("trimtab.db", [trial(0), trial(1, state="infeasible", reason="too slow")])
    assert main(["export", study, "--csv"]) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["trial"], row["state"], row["reason"]) for row in rows] == [("0", "done", ""), ("1", "infeasible", "too slow")]
    assert main(["export", study, "--csv", "out.csv"]) == 0
    assert Path("out.csv").read_text() == out
    assert main(["export", study, "study.json"]) == 0
    assert len(json.loads(Path("study.json").read_text())["trials"]) == 2
    assert capsys.readouterr().out == ""


def test_export_refuses_a_name_that_says_another_kind(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    study = stored("trimtab.db", [trial(0)])
    assert main(["export", study, "r.html", "--csv"]) == 2
    assert capsys.readouterr().err.startswith("FILE: 'r.html' is not allowed; allowed: with --csv a name that ends in .csv")
    assert not Path("r.html").exists()


def test_export_html_goes_to_the_report(trial: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard import report

    calls: list[Any] = []
    monkeypatch.setattr(report, "write_report", lambda *given: calls.append(given))
    study = stored("trimtab.db", [trial(0), trial(1)])
    assert main(["export", study, "--html", "out.html"]) == 0
    path, row, trials, points, _ = calls[0]
    assert (path, row.id, len(trials), len(points)) == (Path("out.html"), study, 2, 2)


def test_looking_into_a_store_that_is_not_there_makes_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    assert capsys.readouterr().out == "no studies in sqlite:///trimtab.db\n"
    assert main(["studies", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"items": [], "next_cursor": None}
    assert main(["frontier", "s-1"]) == 2
    assert capsys.readouterr().err.startswith("--db: 'sqlite:///trimtab.db' is not allowed")
    assert not Path("trimtab.db").exists()


def test_migrate_makes_a_store_of_the_newest_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--db", "new.db"]) == 0
    assert re.search(r"new\.db: schema r\d{4}$", capsys.readouterr().out)
    assert Path("new.db").exists()


# What there is


@pytest.mark.parametrize(
    ("kind", "name"),
    [("devices", "H100-SXM"), ("models", "meta-llama/Llama-3.1-8B"), ("workloads", "chat"), ("prices", "cloud-2026-11"),
     ("engines", "vllm-0.19"), ("schedulers", "vllm_v1"), ("routers", "round_robin"), ("objectives", "ttft_p99_s"),
     ("sources", "roofline"), ("samplers", "enumerate"), ("executors", "threads"), ("arrivals", "poisson")],
)  # fmt: skip
def test_the_catalog_lists_names_and_describes_each(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", kind]) == 0
    assert name in capsys.readouterr().out.splitlines()
    assert main(["catalog", kind, name]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["catalog", kind, "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert all(item["summary"] for item in items)
    assert main(["catalog", kind, name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_a_scheduler_and_a_source_tell_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "schedulers", "sarathi_serve"]) == 0
    out = capsys.readouterr().out
    assert 'batching: "combined", one of combined, hybrid_only, chunked_only' in out
    assert "low_chunk_size: 0, integer from 0 in multiples of 32" in out
    assert main(["catalog", "schedulers", "orca"]) == 0
    assert "Options" not in capsys.readouterr().out
    assert main(["catalog", "sources", "linear"]) == 0
    assert "base_s: " in capsys.readouterr().out
    assert main(["catalog", "schedulers", "lightllm", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["options"]) == {"max_waiting_iters", "max_new_tokens"}


def test_warmup_says_where_the_kernels_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup"]) == 0
    assert re.match(r"\d+ kernels are compiled in /", capsys.readouterr().out)


def test_help_is_printed_for_the_command_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "simulate" in out and err == ""
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == out
    assert main(["search", "--help"]) == 0
    assert "--trials" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trimtab")


def loaded_by(code: str) -> set[str]:
    """Returns the top-level packages that a process has imported after running `code`."""
    program = f"{code}; import sys; print(chr(10).join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path.cwd(), env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {line.partition(".")[0] for line in done.stderr.splitlines()}


def test_help_loads_nothing_heavy() -> None:
    heavy = {"numba", "numpy", "pandas", "optuna", "ray", "plotly", "sqlalchemy", "torch", "scipy"}
    assert not loaded_by("from search.cli import main; main(['--help'])") & heavy


def test_simulate_loads_neither_torch_nor_ray_nor_optuna(scenario_file: str) -> None:
    found = loaded_by(f"from search.cli import main; main(['simulate', {scenario_file!r}])")
    assert "numba" in found
    assert not found & {"torch", "ray", "optuna", "fastapi", "dash", "plotly", "pandas"}


def test_a_reader_that_leaves_is_no_error() -> None:
    program = "import sys; from search.cli import main; sys.exit(main(['catalog', 'devices', '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


# Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Returns True."""
        return True


def at(done: int, phase: str = "screen", sentence: str | None = None, total: int = 9) -> Progress:
    """Returns progress of a phase."""
    return Progress(phase, done, total, "1x L4", 3.0, 61.0, sentence)  # type: ignore[arg-type]


def test_plain_lines_come_once_a_second_and_at_each_new_phase() -> None:
    now = [0.0]
    stream = io.StringIO()
    with Reporter(stream, lambda: now[0]) as report:
        for moment, progress in [(0.0, at(1)), (0.5, at(2)), (1.0, at(3)), (1.2, at(1, "rescore")), (1.3, at(2, "rescore"))]:
            now[0] = moment
            report(progress)
    lines = stream.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "screen: 1 of 9 trials",
        "screen: 3 of 9 trials",
        "rescore: 1 of 9 trials",
    ]
    assert lines[0] == "screen: 1 of 9 trials, about 1 min 1 s left, best so far: 1x L4, after 3.0 s"


def test_a_sentence_is_said_once_and_a_phase_without_a_total_is_silent() -> None:
    stream = io.StringIO()
    with Reporter(stream, lambda: 0.0) as report:
        report(at(0, sentence="threads: as asked", total=0))
        report(at(0, sentence="threads: as asked", total=0))
    assert stream.getvalue() == "threads: as asked\n"


def test_a_terminal_keeps_one_line_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with Reporter(stream) as report:
        report(at(1, sentence="threads: as asked"))
        report(at(2))
    text = stream.getvalue()
    assert "threads: as asked" in text and "\x1b[2K" in text
    assert "screen: 2 of 9 trials" in text or "screen: 1 of 9 trials" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.4, "12 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min"), (59.6, "1 min 0 s")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ctrl_c_asks_first_and_insists_the_second_time() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_price_book_without_a_large_enough_instance_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    deployment = {
        "device": "H100-SXM",
        "model": "Qwen/Qwen3-30B-A3B",
        "tensor_parallel_size": 4,
        "data_parallel_size": 3,
        "enable_expert_parallel": True,
    }
    Path("scenario.yaml").write_text(yaml.safe_dump({**SCENARIO, "deployment": deployment}))
    assert main(["simulate", "scenario.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("allowed: a book that sells H100-SXM in instances that hold the 12 GPUs of a replica")
