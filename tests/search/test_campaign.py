"""A campaign in miniature on this processor: interrupted, gone on with, nothing measured twice, its summary from its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from profiler import command
from search.campaigning import plan as plans
from search.campaigning import record as records
from search.campaigning.page import page
from search.campaigning.run import Call
from search.campaigning.summary import summarize
from search.cli import main
from simulator.cli import warm_up
from simulator.errors import Infeasible, InputError
from tests.tiny import DEVICE, MODEL

SMALL = "--model test/tiny --device {device} --dtype float32 --max-tokens 32 --max-seqs 2 --max-len 64 --json"
MINIATURE: dict[str, Any] = {
    "name": "miniature",
    "budget_s": 100,
    "start_s": 1,
    "parts": [
        {
            "name": "operators",
            "what": "Operators of a tiny model",
            "items": [
                {"name": "operators", "command": f"profile run --budget-s {{budget}} {SMALL}", "seconds": 4, "at_most_s": 5},
                {"name": "wrong", "command": "profile run --model test/none --device {device} --json", "seconds": 1},
            ],
        },
        {"name": "host", "what": "Host step", "items": [{"name": "host", "command": f"profile host {SMALL}", "seconds": 1}]},
    ],
    "validations": {
        "what": "Engine beside simulator",
        "common": {
            "engine": "trimtab-0.1", "dtype": "float32", "max_num_seqs": 2, "max_model_len": 64, "num_gpu_blocks_override": 32,
        },
        "axes": [
            [{"model": "test/tiny"}], [{"scheduler": "vllm_v1"}, {"scheduler": "sarathi_serve"}], [{"max_num_batched_tokens": 32}],
        ],
        "workload": {"prompt_tokens": 24, "output_tokens": 8},
        "loads": [0.05, 0.1],
        "requests": 6,
        "seconds": 2,
        "per_part": 1,
    },
    "last": [
        {
            "name": "summary",
            "what": "Summary",
            "items": [{"name": "summary", "command": "campaign summary --out {out} --json", "seconds": 1, "anew": True}],
        }
    ],
}  # fmt: skip


@pytest.fixture
def plan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the plan and a catalog with a processor and a tiny model."""
    folder = tmp_path / "catalog"
    for name, data in (("devices/test-cpu.yaml", DEVICE), ("models/test/tiny.yaml", MODEL), ("plan.yaml", MINIATURE)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setenv("TRIMTAB_CATALOG", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder / "plan.yaml"


def wait_until_gone(out: Path) -> None:
    """Returns once no command of the campaign, and no server of one, runs any more."""
    marked = f"TRIMTAB_PROFILES={out}".encode()

    def running() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                found += [path.parent.name] if marked in path.read_bytes() else []
        return found

    until = time.monotonic() + 120
    while running():
        assert time.monotonic() < until, running()
        time.sleep(0.1)


def words(out: Path, plan_file: Path) -> list[str]:
    return ["campaign", "run", "--out", str(out), "--device", "test-cpu", "--plan", str(plan_file), "--json"]


@pytest.mark.slow
@pytest.mark.alone
def test_it_is_interrupted_goes_on_and_measures_nothing_twice(
    plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "campaign"
    # Compiled before: not what is tried here.
    warm_up()
    code = "from search.cli import entry; entry()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words(out, plan_file)], env=dict(os.environ), stdout=subprocess.DEVNULL
    )
    try:
        # In the middle of the first deployment: one load is kept, the other runs.
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None and not list((out / "validations").glob("[!.]*.json")):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until_gone(out)
    entries = json.loads((out / records.FILE).read_text())["items"]
    first = "tiny-vllm_v1-32"
    assert (entries[first]["state"], entries["operators"]["state"], entries["wrong"]["state"]) == ("running", "done", "failed")
    assert "--model: 'test/none' is not allowed" in entries["wrong"]["reason"]
    kept = json.loads((out / "validations" / f"{first}.json").read_text())["items"]
    log = (out / "profiles" / "test-cpu" / ".torch-tiny-float32.jsonl").read_bytes()
    assert main(["campaign", "status", "--out", str(out)]) == 0
    assert "3 validation-1       left" in capsys.readouterr().out

    assert main(words(out, plan_file)) == 0
    document = json.loads(capsys.readouterr().out)
    states = {part["name"]: part["state"] for part in document["parts"]}
    assert {name: states[name] for name in ("operators", "host", "summary")} == {
        "operators": "failed", "host": "done", "summary": "done",
    }  # fmt: skip
    # On a machine that is too busy requests are sent late, which is a record like any other fault.
    assert {states["validation-1"], states["validation-2"]} <= {"done", "failed"}
    over = [*document["call"]["done"], *document["call"]["failed"]]
    assert sorted(over) == ["summary", "tiny-sarathi_serve-32", first] and document["call"]["left"] == []
    assert json.loads((out / "validations" / f"{first}.json").read_text())["items"][: len(kept)] == kept
    assert (out / "profiles" / "test-cpu" / ".torch-tiny-float32.jsonl").read_bytes() == log

    found = json.loads((out / "summary.json").read_text())
    assert len(found["host_steps"]) == len(found["profiles"]) == 1
    deployments = {each["name"]: each["items"] for each in found["validations"]["deployments"]}
    assert {name: [each["load"] for each in items] for name, items in deployments.items()} == {
        first: [0.05, 0.1], "tiny-sarathi_serve-32": [0.05, 0.1],
    }  # fmt: skip
    assert {each["fault"]["kind"] for items in deployments.values() for each in items if each["fault"]} <= {"late"}
    assert "wrong failed: --model: 'test/none' is not allowed" in (out / "test-cpu.md").read_text()
    assert main(words(out, plan_file)) == 0
    assert json.loads(capsys.readouterr().out)["call"] == {"done": [], "failed": [], "left": []}


def test_without_a_gpu_it_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["campaign", "run", "--out", str(tmp_path / "c"), "--device", "H200-SXM"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("nothing can be measured on H200-SXM: torch sees no GPU here") and err.count("\n") == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["run", "--out", "{out}", "--device", "H900"], "--device: 'H900'"),
        (["run", "--out", "{out}", "--device", "test-cpu", "--part", "99"], "--part: '99' is not allowed; allowed: ceilings, "),
        (["run", "--out", "{out}", "--device", "test-cpu", "--budget-s", "0"], "--budget-s: 0.0"),
        (["run", "--out", "{out}", "--device", "test-cpu", "--plan", "none.yaml"], "file: 'none.yaml'"),
        (["run", "--out", "{file}/c", "--device", "test-cpu"], "--out: "),
        (["status", "--out", "{out}"], "--out: '{out}' is not allowed; allowed: a folder in which"),
        (["summary", "--out", "{out}"], "--out: '{out}' is not allowed; allowed: a folder in which"),
    ],
)
def test_wrong_input_is_one_line(
    plan_file: Path, tmp_path: Path, argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"{out}": str(tmp_path / "c"), "{file}": str(plan_file)}
    for name, value in places.items():
        argv, told = [word.replace(name, value) for word in argv], told.replace(name, value)
    assert main(["campaign", *argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith(told) and err.count("\n") == 1


def test_status_loads_no_torch(plan_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    begun(plan_file, out).write()
    code = "import sys; from search.cli import main; s = main(sys.argv[1:]); sys.exit(s or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "campaign", "status", "--out", str(out)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "1 operators" in done.stdout


def begun(plan_file: Path, out: Path) -> records.Record:
    """Returns the record of a campaign that has only begun."""
    plan = plans.read(plan_file, "test-cpu")
    plans.write(plan, plan_file, out)
    return records.opened(out, plan)


def test_the_plan_for_a_lone_gpu_can_be_run() -> None:
    from deploy.launch import launcher
    from simulator.resolve import resolve
    from simulator.scenario import Scenario

    plan = plans.read(plans.DEFAULT, "H200-SXM")
    assert len(plan.scenarios) >= 12 and [part.name for part in plan.parts][-2:] == ["validation-4", "summary"]
    for data in plan.scenarios.values():
        deployment = resolve(Scenario.parse(data).deployment)
        assert "--random" in launcher("torch").arguments(deployment, deployment.model, 1)
    told = {"device": "H200-SXM", "out": "/c", "budget": "9", "again": ""}
    assert all("{" not in " ".join(item.arguments(told)) for part in plan.parts for item in part.items)
    # Whatever is begun at the latest moment still has the seconds that it asks for.
    assert all(item.seconds < plan.budget_s - plan.start_s for part in plan.parts for item in part.items)


class Playing:
    """Stands for processes: how each item ends, in turn; `seen` are the words of each."""

    def __init__(self, *endings: command.Ended | BaseException) -> None:
        self.endings, self.seen = list(endings), list[list[str]]()

    def __call__(self, argv: list[str], answer: Path, log: Path, environment: dict[str, str], limit_s: float) -> command.Ended:
        self.seen.append(argv)
        found = self.endings.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


GOOD = command.Ended({}, 1.0)
LEFT = command.Ended({"finished": False}, 1.0)
NO_MEMORY = command.Ended(None, 1.0, "out_of_memory", "CUDA out of memory")


def called(
    plan_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *endings: Any, again: bool = False, part: str | None = None
) -> Any:
    """Returns what a call came to, the record after it, and the words of the commands."""
    record = begun(plan_file, out)
    playing = Playing(*endings)
    monkeypatch.setattr(command, "run", playing)
    ran = Call(record, record.plan.chosen(part), 50.0, again).run()
    return ran, records.opened(out, record.plan), playing.seen


def test_a_failure_is_a_record_and_not_the_end(plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "c"
    ran, record, _ = called(plan_file, out, monkeypatch, NO_MEMORY, GOOD, part="1")
    assert (ran.failed, ran.done, ran.left) == (["operators"], ["wrong"], [])
    assert (record.entries["operators"].kind, record.entries["operators"].reason) == ("out_of_memory", "CUDA out of memory")
    ran, record, seen = called(plan_file, out, monkeypatch, GOOD, again=True, part="1")
    assert ran.done == ["operators"] and len(seen) == 1 and record.entries["operators"].reason is None


def test_the_summary_is_written_anew_after_whatever_was_run(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    ran, _, _ = called(plan_file, out, monkeypatch, NO_MEMORY, *[GOOD] * 5)
    assert ran.failed == ["operators"] and ran.done[-1] == "summary"
    ran, _, _ = called(plan_file, out, monkeypatch, GOOD, GOOD, again=True)
    assert ran.done == ["operators", "summary"]
    assert called(plan_file, out, monkeypatch)[2] == []


def test_what_is_left_is_gone_on_with_and_nothing_is_begun_after_it(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    ran, record, seen = called(plan_file, out, monkeypatch, LEFT)
    assert ran.left[:2] == ["operators", "wrong"] and len(ran.left) == 6 and len(seen) == 1
    assert record.state_of(record.plan.parts[0]) == "left" and record.state_of(record.plan.parts[1]) == "waiting"
    # Five seconds in all, one of which a command takes to start: the fourth second is the last one.
    for _ in range(2):
        ran, _, _ = called(plan_file, out, monkeypatch, LEFT)
        assert ran.left[0] == "operators"
    ran, _, _ = called(plan_file, out, monkeypatch, LEFT, GOOD, part="1")
    assert (ran.done, ran.left) == (["operators", "wrong"], [])


def test_a_machine_that_goes_away_three_times_in_an_item_fails_it(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    for _ in range(records.MOST_CUT - 1):
        record = begun(plan_file, out)
        record.change(record.plan.parts[1].items[0], state="running")
        with pytest.raises(KeyboardInterrupt):
            called(plan_file, out, monkeypatch, KeyboardInterrupt(), part="host")
    record = begun(plan_file, out)
    assert record.entries["host"].state == "left"
    record.change(record.plan.parts[1].items[0], state="running")
    _, record, seen = called(plan_file, out, monkeypatch, part="host")
    assert (seen, record.entries["host"].state, record.entries["host"].kind) == ([], "failed", "vanished")


def test_a_folder_has_one_campaign_and_one_process(plan_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    begun(plan_file, out).write()
    with pytest.raises(InputError, match="a folder of the campaign miniature on L40S; this one is of miniature on test-cpu"):
        records.opened(out, plans.read(plan_file, "L40S"))
    with records.alone(out), pytest.raises(Infeasible, match="another process"), records.alone(out):
        pass
    (out / records.FILE).write_text("{}")
    with pytest.raises(InputError, match="campaign run"):
        records.read(out)


def compared(load: float, rate: float, error: float) -> dict[str, Any]:
    """Returns a kept load whose measured latencies are all 1 / rate and whose errors are all the same."""
    names = ("ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "tpot_p50_s", "tpot_p99_s", "request_throughput_rps")

    def told(factor: float) -> dict[str, Any]:
        latency = dict.fromkeys(("mean", "p50", "p99"), factor / rate)
        return {"request_throughput_rps": rate * factor, "ttft_s": latency, "tpot_s": latency, "e2e_s": latency}

    return {
        "load": load,
        "rate_rps": rate,
        "fault": None,
        "errors": dict.fromkeys(names, error),
        "measured": told(1.0),
        "simulated": told(1 + error),
    }


def test_the_summary_is_of_what_the_folder_holds(plan_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    record = begun(plan_file, out)
    (out / "validations").mkdir()
    for number, name in enumerate(record.plan.scenarios, 1):
        record.change(record.plan.parts[1 + number].items[0], state="done")
        items = [compared(load, 10.0 * number, 0.1 * number) for load in (0.5, 0.8)]
        items.append(
            {"load": 1.0, "rate_rps": 9.0, "fault": {"kind": "died", "reason": "it ended"}}
            if number == 1
            else compared(1.0, 8.0, -0.05)
        )
        told = {
            "deployment": {},
            "workload": {},
            "requests": 9,
            "saturated_rps": 1.0,
            "sources": {"host_step": "absent", "gate": "own"},
            "items": items,
        }
        (out / "validations" / f"{name}.json").write_text(json.dumps(told))
    found = summarize(out)["validations"]
    assert found["latencies"]["tpot_mean_s"] == pytest.approx({"n": 4, "median": 0.15, "mean": 0.15, "p90": 0.2, "bias": 0.15})
    assert found["rate"]["request_throughput_rps"] == pytest.approx(
        {"n": 1, "median": 0.05, "mean": 0.05, "p90": 0.05, "bias": -0.05}
    )
    below = [each for each in found["agreement"] if each["load"] < 1]
    assert len(below) == 6 and all(each["spearman"] == pytest.approx(1.0) and each["regret"] == 0 for each in below)
    text = page(summarize(out))
    assert "| tpot_mean_s up to 80 % of capacity | 4 | 15.0 % | 15.0 % | 20.0 % | +15.0 % | 5 % |" in text
    assert "tiny-vllm_v1-32: simulated without a measurement on this device of host_step" in text
    assert "tiny-vllm_v1-32 at 100 %: died, it ended" in text and "left: operators, host" in text
