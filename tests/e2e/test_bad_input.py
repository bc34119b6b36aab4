"""Wrong input, through the real command: exit status 2 (1 where the answer is "no") and one line that names the field."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import main

ROOT = Path(__file__).parents[2]
SCENARIO: dict[str, Any] = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM", "max_model_len": 8192},
    "workload": {"preset": "chat", "rate_rps": 4.0, "num_requests": 50},
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
}
REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "space": {"device": "H100-SXM", "max_model_len": 8192},
    "budget": {"max_gpus": 8, "trials": 4},
}
HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DB", raising=False)
    write("s.yaml", SCENARIO)
    write("r.yaml", REQUEST)


def write(name: str, data: dict[str, Any]) -> None:
    """Writes a mapping as YAML."""
    Path(name).write_text(yaml.safe_dump(data))


def changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns a copy in which the field at a dotted path has another value, or is absent for `...`."""
    head, _, rest = path.partition(".")
    if rest:
        return {**data, head: changed(data.get(head) or {}, rest, value)}
    return {name: entry for name, entry in {**data, head: value}.items() if entry is not ...}


def refused(argv: list[str], field: str, status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the one line of standard error, after checking the exit status and that the line begins with the field."""
    found = main(argv)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.strip()]
    assert (found, out, len(lines)) == (status, "", 1), err
    assert lines[0].startswith(field), lines[0]
    assert "Traceback" not in err
    return lines[0]


DEPLOYMENT = [
    ("device", "H100", "deployment.device", "H100-SXM"),
    ("device", 7, "deployment.device", "string"),
    ("model", "llama", "deployment.model", "meta-llama/"),
    ("engine", "vllm", "deployment.engine", "vllm-0.19"),
    ("scheduler", "vllm_v2", "deployment.scheduler", "vllm_v1"),
    ("router", "robin", "deployment.router", "round_robin"),
    ("tensor_parallel_size", 3, "deployment.tensor_parallel_size", "1, 2, 4, 8"),
    ("tensor_parallel_size", 0, "deployment.tensor_parallel_size", "greater than 0"),
    ("tensor_parallel_size", -1, "deployment.tensor_parallel_size", "greater than 0"),
    ("replicas", "two", "deployment.replicas", "integer"),
    ("replicas", 1.5, "deployment.replicas", "integer"),
    ("max_model_len", 10**6, "deployment.max_model_len", "131072"),
    ("max_num_seqs", 100_000, "deployment.max_num_seqs", "max_num_batched_tokens"),
    ("gpu_memory_utilization", 1.5, "deployment.gpu_memory_utilization", "less than or equal to 1"),
    ("gpu_memory_utilization", float("nan"), "deployment.gpu_memory_utilization", ""),
    ("dtype", "fp3", "deployment.dtype", "bfloat16"),
    ("tensor_paralel_size", 2, "deployment.tensor_paralel_size", "tensor_parallel_size"),
    ("model", ..., "deployment.model", "required"),
]
SCENARIO_FIELDS = [
    ("workload.preset", "chats", "workload.preset", "chat"),
    ("workload.trace", "t.csv", "workload", "exactly one of"),
    ("workload.rate_rps", float("inf"), "workload.rate_rps", "finite"),
    ("workload.rate_rps", float("nan"), "workload.rate_rps", ""),
    ("workload.rate_rps", -4, "workload.rate_rps", "greater than 0"),
    ("workload.rate_rps", ..., "workload.rate_rps", "requests a second"),
    ("workload.num_requests", 0, "workload.num_requests", "greater than 0"),
    ("workload.seed", -1, "workload.seed", "greater than or equal to 0"),
    ("workload.arrival", {"process": "poisson", "cv": 2.0}, "workload.arrival.cv", "gamma"),
    ("workload.arrival", {"process": "weibull"}, "workload.arrival.process", "poisson"),
    ("slo", {"ttft_p99_ms": 2000}, "slo.ttft_p99_ms", "ttft_p99_s"),
    ("slo", {"ttft_p98_s": 2.0}, "slo.ttft_p98_s", "ttft_p99_s"),
    ("slo", {"ttft_p99_s": 0}, "slo.ttft_p99_s", "positive"),
    ("slo", {"ttft_p99_s": "2 s"}, "slo.ttft_p99_s", "positive"),
    ("slo", {}, "slo", "at least one"),
    ("slo", [2.0], "slo", "mapping"),
    ("prices", "aws", "prices", "cloud-2026-11"),
    ("prices", "mine.yaml", "prices", "readable"),
    ("profiles", [], "profiles", ""),
    ("profiles", [{"source": "guess"}], "profiles.0.source", "roofline"),
    ("profiles", [{"source": "roofline", "speed": 2}], "profiles.0.speed", "source"),
    ("deployment", ["H100-SXM"], "deployment", ""),
    ("workloads", {}, "workloads", "workload"),
]
REQUEST_FIELDS = [
    ("objectives", ["cost"], "objectives.0", "usd_per_hour"),
    ("objectives", [], "objectives", "at least 1"),
    ("prices", None, "prices", "cloud-2026-11"),
    ("sampler", "grid", "sampler", "enumerate"),
    ("budget.trials", 0, "budget.trials", "greater than 0"),
    ("budget.max_gpus", 0, "budget.max_gpus", "greater than 0"),
    ("space.tensor_parallel_size", [], "space.tensor_parallel_size", ""),
    ("space.tensor_parallel_size", {"low": 4, "high": 1, "log2": True}, "space.tensor_parallel_size.high", "at least low"),
    ("space.tensor_parallel_size", [3], "space.tensor_parallel_size", "1, 2, 4, 8"),
    ("space.device", ["H100"], "space.device", "H100-SXM"),
    ("space", {"tensor_parallel_size": [1]}, "space.device", "H100-SXM"),
    ("space.tp", [1], "space.tp", "tensor_parallel_size"),
    ("demand", {"rate_rps": -40}, "demand.rate_rps", "greater than 0"),
    ("demand", {"rate_rps": float("nan")}, "demand.rate_rps", ""),
    ("demand", 40, "demand", ""),
    ("slo", ..., "slo", "required"),
    ("profiles", [{"source": "guess"}], "profiles.0.source", "roofline"),
    ("profiles", [{"source": "vidur_tables", "path": "absent.npz"}], "profiles.0", ""),
    ("workload", {"trace": "absent.csv"}, "workload.trace", "No such file"),
    ("workload.arrival", {"process": "gamma"}, "workload.arrival.cv", "positive"),
    ("workload", {"preset": "chat", "prompt_tokens": 5}, "workload", "exactly one of"),
    ("seed", 1.5, "seed", "integer"),
    ("name", "", "name", "at least 1"),
    ("workload.preset", "chats", "workload.preset", "chat"),
]


@pytest.mark.parametrize(("knob", "value", "field", "allowed"), DEPLOYMENT, ids=lambda part: str(part)[:30])
def test_a_wrong_deployment_is_refused(knob: str, value: Any, field: str, allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("s.yaml", changed(SCENARIO, f"deployment.{knob}", value))
    assert allowed in refused(["simulate", "s.yaml"], field, 2, capsys)


@pytest.mark.parametrize(("path", "value", "field", "allowed"), SCENARIO_FIELDS, ids=lambda part: str(part)[:30])
def test_a_wrong_scenario_is_refused(path: str, value: Any, field: str, allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text(HEADER + "0.0,10,5\n")
    write("s.yaml", changed(SCENARIO, path, value))
    assert allowed in refused(["simulate", "s.yaml", "--json"], field, 2, capsys)


@pytest.mark.parametrize(("path", "value", "field", "allowed"), REQUEST_FIELDS, ids=lambda part: str(part)[:30])
def test_a_wrong_request_is_refused_and_no_store_is_made(
    path: str, value: Any, field: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("r.yaml", changed(REQUEST, path, value))
    assert allowed in refused(["search", "r.yaml", "--executor", "inline"], field, 2, capsys)
    assert not Path("trimtab.db").exists()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("0.0,10,5\n1.0,-3,5\n", r"\(t.csv line 3, column num_prefill_tokens\): '-3'"),
        ("0.0,10,5\n1.0,10,x\n", r"\(t.csv line 3, column num_decode_tokens\): 'x'"),
        ("5.0,10,5\n1.0,10,5\n", r"\(t.csv line 3, column arrived_at\): '1.0'"),
        ("nan,10,5\n", r"\(t.csv line 2, column arrived_at\): 'nan'"),
        ("0.0,10\n", r"\(t.csv line 2\)"),
        ("", r": '.*t.csv' is not allowed; allowed: a trace with at least one request"),
        ("0.0,0,5\n", r": '.*t.csv' is not allowed; allowed: a trace with a request of one token or more"),
    ],
)
def test_a_wrong_trace_is_refused_with_its_line(rows: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text(HEADER + rows)
    write("s.yaml", changed(SCENARIO, "workload", {"trace": "t.csv"}))
    assert re.search(told, refused(["simulate", "s.yaml"], "workload.trace", 2, capsys))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.csv.gz", b"\x1f\x8bnot gzip at all", "sound gzip"),
        ("t.csv", b"a,b\n1,2\n", "columns of"),
        ("t.csv", b"\x00\x01\x02", "binary"),
        ("folder", None, "a directory is there"),
        ("absent.csv", None, "No such file"),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused(
    name: str, content: bytes | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    if content is not None:
        Path(name).write_bytes(content)
    write("s.yaml", changed(SCENARIO, "workload", {"trace": name}))
    assert told in refused(["simulate", "s.yaml"], "workload.trace", 2, capsys)


@pytest.mark.parametrize("command", ["simulate", "capacity", "search"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        ("folder", "directory"),
        ("a: [1, 2", "valid YAML (line"),
        ("a: 1\na: 2\n", "'a' is given twice"),
        ("- 1\n- 2\n", "mapping"),
        ("", "mapping"),
        ("just text", "mapping"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(
    command: str, content: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("x.yaml")
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    assert told in refused([command, "x.yaml"], "file", 2, capsys)


@pytest.mark.parametrize(
    "command", [["search", "r.yaml"], ["frontier", "s-1"], ["export", "s-1", "--csv"], ["studies"], ["migrate"]]
)
@pytest.mark.parametrize(
    ("db", "told"),
    [
        ("absent/x.db", "a file in a folder that exists"),
        ("folder", "this is a folder"),
        ("text.db", "a store"),
        ("mysql://host/name", "postgresql://"),
        ("sqlite://", "a path"),
        ("", "a path"),
    ],
)
def test_a_place_that_holds_no_store_is_refused(command: list[str], db: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("text.db").write_text("this is not a database, but it is long enough to look like one " * 4)
    assert told in refused([*command, "--db", db], "--db", 2, capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    refused(["migrate", "--db", "locked/x.db"], "--db", 2, capsys)


def test_a_full_or_read_only_disk_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    refused(["migrate", "--db", "/proc/x.db"], "--db", 2, capsys)
    refused(["simulate", "s.yaml", "--requests", "/proc/x.csv"], "--requests", 2, capsys)


OPTIONS = [
    (["--foo"], "option: '--foo'", "--help"),
    (["seach", "r.yaml"], "command: 'seach'", "allowed: search"),
    (["plot", "r.yaml"], "command: 'plot'", "simulate"),
    (["search"], "REQUEST.yaml: missing", "required"),
    (["simulate"], "SCENARIO.yaml: missing", "required"),
    (["frontier"], "STUDY: missing", "required"),
    (["catalog"], "KIND: missing", "required"),
    (["simulate", "s.yaml", "t.yaml"], "argument: 't.yaml'", "nothing after SCENARIO.yaml"),
    (["warmup", "now"], "argument: 'now'", "no argument"),
    (["simulate", "s.yaml", "--jsn"], "option: '--jsn'", "--json"),
    (["simulate", "s.yaml", "-j"], "option: '-j'", "--json"),
    (["simulate", "s.yaml", "--requests"], "--requests: missing", "a value"),
    (["simulate", "s.yaml", "--requests", "no/such/out.csv"], "--requests: 'no/such/out.csv'", "a folder that exists"),
    (["simulate", "s.yaml", "--requests", "."], "--requests: '.'", "a folder"),
    (["simulate", "s.yaml", "--json=yes"], "--json", "no value"),
    (["search", "r.yaml", "--trials", "many"], "--trials: 'many'", "a whole number"),
    (["search", "r.yaml", "--trials", "1.5"], "--trials: '1.5'", "a whole number"),
    (["launch", "x", "1", "--port", "99999"], "--port: '99999'", "a whole number from 1 to 65535"),
    (["search", "r.yaml", "--trials", "0"], "budget.trials: 0", "greater than 0"),
    (["search", "r.yaml", "--seed", "-1"], "seed: -1", "greater than or equal to 0"),
    (["search", "r.yaml", "--executor", "dask"], "--executor: 'dask'", "threads"),
    (["studies", "--limit", "0"], "--limit: 0", "from 1"),
    (["catalog", "gpus"], "KIND: 'gpus'", "devices"),
    (["catalog", "devices", "H100"], "NAME: 'H100'", "H100-SXM"),
    (["catalog", "schedulers", "../cli"], "NAME: '../cli'", "vllm_v1"),
    (["catalog", "gpus", "--json"], "KIND: 'gpus'", "devices"),
    (["frontier", "s-1"], "--db: 'sqlite:///trimtab.db'", "a store that exists"),
    (["export", "s-1"], "FILE: missing", "--csv"),
    (["export", "s-1", "out.txt"], "FILE: 'out.txt'", ".csv"),
    (["export", "s-1", "--html"], "FILE: missing", "--html"),
    (["export", "s-1", "--csv", "--json"], "--json", "one of"),
    (["export", "s-1", "--csv", "no/such/out.csv"], "FILE: 'no/such/out.csv'", "a folder that exists"),
]


@pytest.mark.parametrize(("argv", "field", "allowed"), OPTIONS, ids=lambda part: " ".join(part) if isinstance(part, list) else "")
def test_a_wrong_command_line_is_refused(argv: list[str], field: str, allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert allowed in refused(argv, field, 2, capsys)


@pytest.mark.parametrize("command", [["frontier", "nobody"], ["export", "nobody", "--json"]])
def test_an_unknown_study_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    capsys.readouterr()
    refused(command, "study: 'nobody'", 2, capsys)


def test_what_the_answer_no_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    write("s.yaml", changed(SCENARIO, "deployment", {"model": "meta-llama/Llama-3.1-70B", "device": "L4"}))
    assert "GB missing" in refused(["simulate", "s.yaml"], "meta-llama/Llama-3.1-70B on L4", 1, capsys)


def test_a_capacity_without_an_slo_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("s.yaml", changed(SCENARIO, "slo", ...))
    refused(["capacity", "s.yaml"], "slo: None", 2, capsys)


@pytest.mark.parametrize(
    ("argv", "break_it", "field"),
    [
        (["simulate", "s.yaml", "--foo"], None, "option: '--foo'"),
        (["search"], None, "REQUEST.yaml"),
        (["nothing"], None, "command: 'nothing'"),
        (["simulate", "s.yaml"], lambda: write("s.yaml", changed(SCENARIO, "deployment.device", "H100")), "deployment.device"),
        (["search", "r.yaml"], lambda: write("r.yaml", changed(REQUEST, "slo", {"ttft_p99_ms": 1})), "slo.ttft_p99_ms"),
        (["studies", "--db", "no/such.db"], None, "--db"),
    ],
)
def test_a_process_ends_with_status_2_and_one_line(argv: list[str], break_it: Callable[[], None] | None, field: str) -> None:
    if break_it is not None:
        break_it()
    program = "from search.cli import entry; entry()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program, *argv], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(field) and done.stderr.count("\n") == 1
