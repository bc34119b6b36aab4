"""`trimtab drift`: the verdict under a newer trace, what it takes now, a new search, and what is refused in one line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from search import driver
from search.cli import main
from search.drift import report
from search.fidelity import Fidelity
from simulator.draw import draw
from simulator.spec.workload import Workload
from tests.receiver import receiving

pytestmark = pytest.mark.slow

# Shorter than what people get, and long enough for an interval of a few percent.
SHORT = Fidelity(requests=6_000, seeds=3, tolerance=0.01, spread=0.05, latency_spread=0.1)
LEVELS = {
    "SCREEN": Fidelity(requests=1_000, seeds=1, tolerance=0.02, spread=0.16, latency_spread=0.32),
    "RESCORE": SHORT,
    "FINAL": SHORT,
}
CHAT: dict[str, Any] = {"preset": "chat"}
RATE = 12.0
REQUEST: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B",
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": [2048], "max_num_seqs": 256, "max_model_len": 16384},
    "budget": {"max_gpus": 16, "trials": 2},
}
ONE = {**REQUEST["space"], "device": "H100-SXM"}
STUDIES: dict[str, dict[str, Any]] = {
    "sized": {"workload": {"trace": "old.csv"}, "demand": {"rate_rps": RATE}},
    "traced": {"workload": {"trace": "old.csv"}},
    "drawn": {"workload": CHAT},
    "classes": {
        "workload": {"classes": {"chat": {"share": 1.0, "preset": "chat", "slo": {"ttft_p99_s": 2.0}}}},
        "slo": {"itl_p99_s": 0.2},
        "space": ONE,
    },
    "prefixes": {"workload": {"trace": "shared.jsonl"}, "space": {**ONE, "block_size": 128}},
    "users": {"workload": {**CHAT, "users": 20, "think_time_s": 5.0}, "space": ONE},
}


def trace(path: Path, seed: int, rate_rps: float = RATE, longer: float = 1.0, count: int = 5_000, clock: bool = True) -> None:
    """Writes a trace of chat."""
    drawn = draw(Workload.parse(CHAT), count, seed, stratified=False)
    columns = [np.ceil(drawn.prompt_tokens * longer).astype(int), drawn.output_tokens]
    names = ["num_prefill_tokens", "num_decode_tokens"]
    if clock:
        columns, names = [drawn.at(rate_rps).round(6), *columns], ["arrived_at", *names]
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([",".join(names), *rows]) + "\n")


def hashed(path: Path, seed: int, shared: bool) -> None:
    """Writes a trace in Mooncake's form: prompts of four blocks, of which three are common to all where `shared`."""
    rng, block = np.random.default_rng(seed), itertools.count(10)
    stamps = np.cumsum(rng.exponential(1000 / RATE, 3_000))
    rows = []
    for stamp, output in zip(stamps.tolist(), rng.integers(50, 350, 3_000).tolist(), strict=True):
        ids = [*([1, 2, 3] if shared else (next(block) for _ in range(3))), next(block)]
        rows.append({"timestamp": stamp, "input_length": 2048, "output_length": output, "hash_ids": ids})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with traces and a store of short studies."""
    folder = tmp_path_factory.mktemp("drift")
    trace(folder / "old.csv", 1)
    trace(folder / "same.csv", 2)
    trace(folder / "doubled.csv", 3, rate_rps=2.5 * RATE)
    trace(folder / "longer.csv", 4, longer=3.0)
    trace(folder / "clockless.csv", 5, clock=False)
    trace(folder / "few.csv", 6, count=50)
    for name, seed, shared in (("shared", 7, True), ("still", 8, True), ("alone", 9, False)):
        hashed(folder / f"{name}.jsonl", seed, shared)
    trace(folder / "huge.csv", 10, longer=20.0)
    trace(folder / "at_once.csv", 11, rate_rps=1e12)
    (folder / "broken.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,x\n")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        for name, fields in STUDIES.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump({**REQUEST, "name": name, **fields}))
            assert main(["search", str(folder / f"{name}.yaml"), "--db", str(folder / "s.db"), "--executor", "inline"]) == 0
    return folder


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Lets searches and reports run few requests."""
    for name, fidelity in LEVELS.items():
        patch.setattr(driver, name, fidelity)
    patch.setattr(report, "FINAL", SHORT)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def run(lab: Path, capsys: pytest.CaptureFixture[str], study: str, name: str, *more: str) -> tuple[int, dict[str, Any]]:
    """Returns the exit status and the document of one report."""
    capsys.readouterr()
    status = main(["drift", study, str(lab / name), "--db", str(lab / "s.db"), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def test_the_answer_stands_under_the_same_traffic_and_falls_when_it_grows(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lab, capsys, "sized", "same.csv")
    assert (status, found["drifted"], found["standing"]["stands"]) == (0, [], True)
    assert found["standing"]["verdict"].startswith("stands: ")
    status, found = run(lab, capsys, "sized", "doubled.csv")
    assert (status, found["drifted"], found["standing"]["stands"]) == (1, ["request rate"], False)
    loads = {load["name"]: load for load in found["standing"]["loads"]}
    # At the demand, requests are as they were; at the trace's own rate the fleet is too small.
    assert loads["demand"]["kept"] and not loads["trace"]["kept"]
    needed, limit = loads["trace"]["needed"], found["standing"]["limit"]
    assert needed > loads["trace"]["replicas"]
    per_replica = limit["capacity_rps"]["value"] / limit["replicas"]
    assert abs(needed - loads["trace"]["rate_rps"] / per_replica) <= 1
    assert found["standing"]["verdict"].startswith("no longer meets ")
    assert f"; {needed} replicas would" in found["standing"]["verdict"]
    # What it names as enough is enough.
    status, again = run(lab, capsys, "sized", "doubled.csv", "--replicas", str(needed))
    assert status == 0 and again["standing"]["loads"][0]["kept"]


def test_longer_prompts_cost_capacity_and_more_a_token(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = run(lab, capsys, "drawn", "longer.csv")
    assert found["drifted"] == ["prompt lengths"]
    now, before = found["standing"]["limit"], found["standing"]["stored"]["limit"]
    assert now["capacity_rps"]["high"] < before["capacity_rps"]["low"]
    cost, was = now["usd_per_million_output_tokens"], before["usd_per_million_output_tokens"]
    assert cost["low"] <= cost["value"] <= cost["high"] and cost["low"] > was["high"]
    # Dollars an hour over tokens an hour: output lengths are the same, so that cost goes with one over the capacity.
    ratio = before["capacity_rps"]["value"] / now["capacity_rps"]["value"]
    assert cost["value"] / was["value"] == pytest.approx(ratio, rel=0.1)
    assert any("the study states no rate" in note for note in found["notes"])


def test_prompts_that_share_nothing_any_more_are_named_and_cost_capacity(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, still = run(lab, capsys, "prefixes", "still.jsonl")
    _, alone = run(lab, capsys, "prefixes", "alone.jsonl")
    assert (still["drifted"], alone["drifted"]) == ([], ["prefix reuse"])
    reuse = {each["name"]: each for each in alone["changes"]}["prefix_reuse"]
    assert reuse["study"] == pytest.approx(0.75, abs=0.01) and reuse["trace"] == 0 and reuse["change"] is None
    cached = [found["standing"]["loads"][0]["metrics"]["cached_token_share"] for found in (still, alone)]
    assert cached == [pytest.approx(0.75, abs=0.01), 0]
    capacity = [found["standing"]["limit"]["capacity_rps"] for found in (still, alone)]
    assert capacity[1]["high"] < capacity[0]["low"]
    _, unknown = run(lab, capsys, "prefixes", "same.csv")
    assert "prefix reuse is not compared: the trace does not say what its prompts have in common" in unknown["notes"]


def test_a_study_without_a_demand_stands_for_the_replicas_of_its_own_traffic(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, same = run(lab, capsys, "traced", "same.csv")
    status, doubled = run(lab, capsys, "traced", "doubled.csv")
    assert same["standing"]["replicas"] == doubled["standing"]["replicas"]
    assert status == 1 and doubled["drifted"] == ["request rate"]
    stated, _ = run(lab, capsys, "traced", "doubled.csv", "--replicas", "16")
    assert stated == 0


def test_a_trace_that_is_a_part_of_the_traffic_is_put_to_its_rate(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lab, capsys, "sized", "same.csv", "--rate", str(2.5 * RATE))
    assert status == 1 and found["drifted"] == ["request rate"]
    assert found["trace"]["rate_rps"] == pytest.approx(2.5 * RATE)
    status, found = run(lab, capsys, "sized", "clockless.csv")
    assert status == 0 and [load["name"] for load in found["standing"]["loads"]] == ["demand"]
    assert "request rates are not compared: the trace has no arrival times" in found["notes"]


def test_requests_that_nobody_serves_break_the_answer_whatever_the_fleet(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = run(lab, capsys, "sized", "huge.csv")
    stands = found["standing"]
    assert status == 1 and stands["limit"]["capacity_rps"] is None and "max_model_len" in stands["limit"]["reason"]
    assert all(load["needed"] is None and load["reason"] for load in stands["loads"])
    assert "unserved requests" in stands["verdict"]


def test_another_trial_is_judged_where_it_is_asked_for(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = run(lab, capsys, "sized", "same.csv", "--trial", "0")
    _, other = run(lab, capsys, "sized", "same.csv", "--trial", "1")
    devices = {found["standing"]["deployment"]["device"] for found in (first, other)}
    assert devices == {"H100-SXM", "L40S"}


def test_the_same_question_has_the_same_bytes(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [run(lab, capsys, "sized", "same.csv") for _ in range(2)]
    assert told[0] == told[1]
    _, other = run(lab, capsys, "sized", "same.csv", "--seed", "1")
    assert other["changes"] != told[0][1]["changes"]


def test_a_new_search_is_stored_under_its_name_and_sized_for_the_new_rate(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--search", "--name", "newer", "--executor", "inline")
    status, found = run(lab, capsys, "sized", "doubled.csv", *how)
    again = found["search"]
    assert status == 1 and again["name"] == "newer"
    assert again["demand_rps"] == pytest.approx(found["trace"]["rate_rps"])
    assert again["value"] <= again["chosen_value"] and again["better_by"] == pytest.approx(
        1 - again["value"] / again["chosen_value"]
    )
    assert main(["frontier", "newer", "--db", str(lab / "s.db"), "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    assert stored["study"]["id"] == again["study"] and stored["items"][0]["trial"] == again["trial"]


def test_another_deployment_that_wins_is_named_with_how_much_better_it_is(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, plain = run(lab, capsys, "sized", "same.csv")
    loser = 1 - plain["standing"]["trial"]
    _, found = run(lab, capsys, "sized", "same.csv", "--trial", str(loser), "--search", "--executor", "inline")
    again = found["search"]
    assert again["wins"] and again["better_by"] > 0 and again["name"].startswith("sized-drift-20")
    assert again["deployment"]["device"] == plain["standing"]["deployment"]["device"]
    assert again["sentence"].startswith("another deployment wins: ") and again["sentence"].endswith(" % better")


def test_people_read_the_verdict_first(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["drift", "traced", str(lab / "doubled.csv"), "--db", str(lab / "s.db")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert ": no longer meets " in lines[0] and lines[1] == "changed beyond sampling: request rate"
    assert sum("changed" in line for line in lines[2:]) >= 1


def test_webhooks_are_told_of_an_answer_that_fell_and_of_no_other(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_WEBHOOKS_TO_PRIVATE", "1")
    with receiving() as receiver:
        assert main(["webhooks", "add", receiver.url, "--on", "drift", "--db", str(lab / "s.db"), "--json"]) == 0
        hook = json.loads(capsys.readouterr().out)
        run(lab, capsys, "sized", "same.csv")
        assert receiver.got == []
        _, found = run(lab, capsys, "sized", "doubled.csv")
        assert main(["webhooks", "remove", hook["id"], "--db", str(lab / "s.db")]) == 0
    (got,) = receiver.got
    body = json.loads(got.body)
    assert got.is_signed_by(hook["secret"]) and body["type"] == "drift"
    assert body["data"]["study"] == found["study"]["id"] and body["data"]["sentence"] == found["standing"]["verdict"]
    assert body["data"]["needed"]["trace"] == next(each["needed"] for each in found["standing"]["loads"] if each["name"] == "trace")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["nobody", "same.csv"], "STUDY: 'nobody' is not allowed"),
        (["sized", "absent.csv"], "TRACE: "),
        (["sized", "broken.csv"], "TRACE (broken.csv line 2, column num_decode_tokens): 'x' is not allowed"),
        (["sized", "few.csv"], "TRACE: '50 requests' is not allowed; allowed: a trace with 100 or more"),
        (["sized", "at_once.csv"], "TRACE: '5000 requests at once' is not allowed"),
        (["sized", "sha256:00"], "TRACE: 'sha256:00' is not allowed"),
        (["drawn", "clockless.csv"], "--rate: None is not allowed"),
        (["classes", "same.csv"], "TRACE (column class): 'all' is not allowed; allowed: classes that the study's SLO bounds: chat"),
        (["users", "same.csv"], "study.workload.users: 20 is not allowed; allowed: a study of an open loop"),
        (["sized", "same.csv", "--trial", "9"], "--trial: 9 is not allowed"),
        (["sized", "same.csv", "--rate", "-1"], "--rate: -1.0 is not allowed"),
        (["sized", "same.csv", "--rate", "nan"], "--rate: nan is not allowed"),
        (["sized", "same.csv", "--replicas", "0"], "--replicas: 0 is not allowed"),
        (["sized", "same.csv", "--tolerance", "2"], "--tolerance: 2.0 is not allowed"),
        (["sized", "same.csv", "--name", "x"], "--name: 'x' is not allowed"),
        (["sized", "same.csv", "--executor", "x"], "--executor: 'x' is not allowed"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], told: str
) -> None:
    monkeypatch.chdir(lab)
    capsys.readouterr()
    assert main(["drift", *argv, "--db", "s.db"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith(told)
