"""Plans of a stored study and of given deployments: the cheapest, checks by simulation, budgets, what-if, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from db import record
from db.rows import PointResult, TrialResult
from db.session import Store, open_store
from search.cli import main
from search.plan import Plan, PlanRequest, plan, what_if
from search.plan import planning as plans
from search.plan.check import _fewest, busiest
from search.plan.demand import week_of
from search.plan.document import Missed, Window
from simulator.errors import Infeasible, InputError
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment

MODEL = "meta-llama/Llama-3.1-8B"
SLO = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}
SCALING = {"start_up_s": 600, "min_up_h": 2}


def deployment(device: str) -> dict[str, Any]:
    """Returns a deployment of one replica as it is stored."""
    knobs = {"model": MODEL, "device": device, "max_num_batched_tokens": 2048, "max_num_seqs": 256, "max_model_len": 16384}
    return resolve(Deployment.parse(knobs)).model_dump(mode="json")


def curve(capacity: float) -> list[dict[str, Any]]:
    """Returns a latency curve whose TTFT grows tenfold over each half of the capacity, to its bound."""

    def metrics(load: float) -> dict[str, Any]:
        values = {"ttft_s": 0.02 * 100 ** (load / capacity), "tpot_s": 0.02, "itl_s": 0.05 * 2 ** (load / capacity), "e2e_s": 4.0}
        spread = {name: dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"), value) for name, value in values.items()}
        return {**spread, "requests": 20_000, "rejected": 0}

    return [{"rate_rps": share * capacity, "metrics": metrics(share * capacity)} for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Returns a store with the study `chat` of two deployments on its frontier and one that is infeasible."""
    asked: dict[str, Any] = {"name": "chat", "model": MODEL, "workload": {"preset": "chat"}, "slo": SLO, "demand": None}
    asked |= {"prices": "cloud-2026-11", "profiles": [{"source": "roofline"}], "objectives": ["usd_per_hour"]}
    with open_store(str(tmp_path / "studies.db")) as opened:
        made = record.create_study(opened, name="chat", digest="d", request=asked, seed=0, versions={}, kernel_digest="k")
        record.start_study(opened, made.id)
        for place, (device, capacity) in enumerate((("H100-SXM", 20.0), ("L40S", 5.0))):
            result = TrialResult(
                key=f"k{place}",
                state="done",
                deployment=deployment(device),
                kernel_digest="k",
                seed=0,
                fidelity=20_000,
                capacity_rps=capacity,
                capacity_low_rps=0.95 * capacity,
                capacity_high_rps=1.05 * capacity,
                capacity_level=0.95,
                binding="ttft_p99_s",
                curve=curve(capacity),
            )
            point = PointResult(
                rate_rps=capacity, metrics=curve(capacity)[-1]["metrics"], objectives={}, on_frontier=True, rank=place
            )
            record.upsert_trial(opened, made.id, result, [point])
        lost = TrialResult(key="k2", state="infeasible", deployment=deployment("L40S"), kernel_digest="k", seed=0, reason="no")
        record.upsert_trial(opened, made.id, lost)
        record.finish_study(opened, made.id, "done")
        yield opened


def asked(**fields: Any) -> PlanRequest:
    """Returns a request for the stored study, nothing simulated."""
    base: dict[str, Any] = {
        "study": "chat",
        "demand": {"preset": "chat", "mean_rps": 100},
        "fleet": {"headroom": 0.1, "scaling": SCALING},
        "check": {"windows": 0},
    }
    return PlanRequest.parse({**base, **fields})


def test_a_study_is_planned_from_its_low_ends_and_the_cheapest_is_named(store: Store) -> None:
    found = plan(asked(), store)
    assert found.best is not None
    costs = [option.usd_per_week for each in found.candidates for option in each.options]
    assert found.best.usd_per_week == min(costs)
    by_device = {each.deployment.deployment["device"]: each for each in found.candidates}
    assert by_device["H100-SXM"].capacity_per_replica_rps == pytest.approx(19)
    assert by_device["L40S"].capacity_per_replica_rps == pytest.approx(4.75)
    for each in found.candidates:
        for option in each.options:
            assert all(
                replicas * (each.capacity_per_replica_rps or 0) >= rate * 1.1 - 1e-6
                for replicas, rate in zip(option.replicas_by_hour, found.demand.rate_rps, strict=True)
            )
            assert sum(option.usd_by_hour) == pytest.approx(option.usd_per_week)
            assert all(
                gpus
                == replicas // option.replicas_per_unit * (option.peak_gpus // (option.peak_replicas // option.replicas_per_unit))
                for gpus, replicas in zip(option.gpus_by_hour, option.replicas_by_hour, strict=True)
            )
    assert found.best.saved_share is not None
    assert 0 < found.best.saved_share < 1
    assert found.demand.busiest == "Mon 14:00 UTC"


def test_trials_may_be_chosen_and_must_be_there(store: Store) -> None:
    found = plan(asked(trials=[1]), store)
    assert [each.deployment.trial for each in found.candidates] == [1]
    with pytest.raises(InputError, match=r"trial.*0 to 2"):
        plan(asked(trials=[7]), store)
    with pytest.raises(InputError, match="latency curve"):
        plan(asked(trials=[2]), store)
    with pytest.raises(InputError, match="study"):
        plan(asked(study="other"), store)
    with pytest.raises(InputError, match="--db"):
        plan(asked())


def test_what_if_is_what_a_fresh_plan_says(store: Store) -> None:
    before = plan(asked(), store)
    changes: list[dict[str, Any]] = [
        {"demand": {"growth_per_month": 0.2, "months": 2.0}},
        {"fleet": {"headroom": 0.5}},
        {"fleet": {"survives": "instance"}},
        {"terms": ["on_demand"]},
        {"spot": {"max_share": 0.5}},
        {"slo": {"ttft_p99_s": 0.5, "itl_p99_s": 0.2}},
        {"prices": "vidur-code-2024-02"},
    ]
    for change in changes:
        base = asked().model_dump(mode="json")
        fresh = plan(PlanRequest.parse(plans._merged(base, change)), store)
        quoted = what_if(before, change)
        assert quoted.best == fresh.best, change
        assert quoted.demand == fresh.demand
    dearer = what_if(before, {"demand": {"growth_per_month": 0.2, "months": 2.0}}).best
    safer = what_if(before, {"fleet": {"survives": "instance"}}).best
    tighter = what_if(before, {"slo": {"ttft_p99_s": 0.5}}).best
    assert before.best is not None
    assert all(each is not None and each.usd_per_week >= before.best.usd_per_week for each in (dearer, safer, tighter))
    with pytest.raises(InputError, match=r"changes\.study"):
        what_if(before, {"study": "other"})


def test_a_tighter_slo_is_read_from_the_curve(store: Store) -> None:
    found = what_if(plan(asked(), store), {"slo": {"ttft_p99_s": 0.2}})
    # TTFT grows as a power of the load, so that a tenth of the bound is half of the capacity.
    assert sorted(each.capacity_per_replica_rps or 0 for each in found.candidates) == pytest.approx([2.375, 9.5])
    with pytest.raises(Infeasible, match="lightest load"):
        what_if(found, {"slo": {"ttft_p99_s": 0.001}})


def test_a_budget_is_the_plan_turned_around(store: Store) -> None:
    for dollars in (3000.0, 12_000.0, 60_000.0):
        found = plan(asked(budget_usd_per_month=dollars), store)
        bought = found.budget
        assert bought is not None and bought.mean_rps is not None and found.best is not None
        assert bought.enough == (found.best.usd_per_month <= dollars)
        at = what_if(found, {"demand": {"mean_rps": bought.mean_rps}}).best
        beyond = what_if(found, {"demand": {"mean_rps": bought.mean_rps * 1.001}}).best
        assert at is not None and beyond is not None
        assert at.usd_per_month <= dollars < beyond.usd_per_month
        if bought.slo is not None:
            kept = what_if(found, {"slo": bought.slo}).best
            assert kept is not None and kept.usd_per_month <= dollars * (1 + 1e-9)
            assert (bought.slo_factor or 0) <= 1 + 1e-3 or not bought.enough


def test_a_budget_too_small_for_a_trickle_says_so(store: Store) -> None:
    bought = plan(asked(budget_usd_per_month=1.0), store).budget
    assert bought is not None
    assert (bought.enough, bought.demand_factor, bought.slo_factor) == (False, None, None)


def test_a_plan_survives_json(store: Store) -> None:
    found = plan(asked(budget_usd_per_month=9000.0), store)
    again = Plan.parse(json.loads(found.model_dump_json()))
    assert again == found
    assert what_if(again, {"fleet": {"headroom": 0.3}}) == what_if(found, {"fleet": {"headroom": 0.3}})


def test_what_no_book_sells_is_the_reason(store: Store) -> None:
    with pytest.raises(Infeasible, match="sells no instance"):
        plan(asked(trials=[1], prices="vidur-paper-2024"), store)


def test_busy_hours_are_the_peak_and_the_fullest_replicas() -> None:
    week = week_of(asked().demand)
    import numpy as np

    serving = np.full(168, 10)
    serving[100] = 1
    first, second = busiest(week, serving, 2)
    assert (first, second) == (int(np.argmax(week.rate_rps)), 100)


def test_the_fewest_that_keep_are_found_in_steps() -> None:
    asked_of: list[int] = []

    def keeps(count: int) -> bool:
        asked_of.append(count)
        return count >= 23

    assert _fewest(keeps, 16, 2) == 24
    assert len(asked_of) <= 6
    assert _fewest(lambda count: False, 4, 1) is None


def test_a_missed_hour_adds_replicas_until_it_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator is replaced: an H100 serves no more than 12 requests a second, whatever its curve says."""
    from search.plan.check import Checked

    def check(request: Any, terms: Any, prepared: Any, week: Any, hour: int, replicas: int, step: int) -> Checked:
        rate = float(week.rate_rps[hour])
        fewest = max(replicas, -int(-rate * 1.1 // 12))
        kept = fewest == replicas
        bounds = (Missed(bound="ttft_p99_s", limit_s=2.0, value_s=1.0 if kept else 3.0),)
        label = week.label(hour)
        window = Window(hour=hour, label=label, rate_rps=rate, replicas=replicas, requests=1, kept=kept, bounds=bounds, traffic="")
        return Checked(window, fewest)

    monkeypatch.setattr(plans, "check", check)
    before = plan(asked(trials=[0]), store)
    after = plan(asked(trials=[0], check={"windows": 2}), store)
    (candidate,) = after.candidates
    assert candidate.capacity_per_replica_rps is not None
    assert candidate.capacity_per_replica_rps < 19
    assert candidate.added
    assert "ttft_p99_s 3 s (limit 2 s)" in candidate.added[0]
    option = candidate.options[0]
    assert option.peak_replicas * 12 >= after.demand.peak_rps * 1.1 - 1e-6
    assert before.best is not None and after.best is not None
    assert after.best.usd_per_week > before.best.usd_per_week
    assert [window.kept for window in candidate.checked][-1]
    # Capacities stay as the check has left them.
    again = what_if(after, {"fleet": {"headroom": 0.1}})
    assert again.best is not None and again.best.usd_per_week == pytest.approx(after.best.usd_per_week)


def test_given_deployments_are_measured_and_their_busiest_hour_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = {"model": MODEL, "device": "H100-SXM", "max_num_batched_tokens": 2048, "max_num_seqs": 256, "max_model_len": 16384}
    document = {
        "name": "week",
        "slo": SLO,
        "prices": "cloud-2026-11",
        "profiles": [{"source": "roofline"}],
        "deployments": [knobs],
        "demand": {"preset": "chat", "mean_rps": 8.0},
        "fleet": {"survives": "replica", "scaling": SCALING},
        "check": {"windows": 1},
        "budget_usd_per_month": 5000.0,
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["plan", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (candidate,) = printed["candidates"]
    window = candidate["checked"][-1]
    assert window["kept"]
    assert window["label"] == "Mon 14:00 UTC"
    assert window["replicas"] == candidate["options"][0]["replicas_by_hour"][14] - 1
    assert window["requests"] == pytest.approx(window["rate_rps"] * 3600, abs=1)
    assert main(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "simulated Mon 14:00 UTC" in shown
    assert "SLO kept" in shown
    assert "$5,000.00 a month" in shown


def test_a_trace_is_simulated_with_its_own_requests(tmp_path: Path, store: Store) -> None:
    rows = ["arrived_at,num_prefill_tokens,num_decode_tokens"]
    for hour in range(25):
        count = 900 if hour == 9 else 60
        rows += [f"{hour * 3600 + 3600 * k / count + 5},{500 + k % 7},{20 + k % 5}" for k in range(count)]
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(rows) + "\n")
    found = plan(asked(trials=[0], demand={"trace": str(trace), "peak_rps": 30.0}, check={"windows": 1}), store)
    (window,) = found.candidates[0].checked
    assert (window.label, window.requests) == ("day 1, hour 9", 900)
    assert window.rate_rps == pytest.approx(30)
    assert "the trace's own requests" in window.traffic
    assert "TTFT" not in (found.candidates[0].reason or "")


def test_the_command_refuses_wrong_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"study": "nothing", "demand": {"preset": "chat", "mean_rps": 1.0}}))
    assert main(["plan", str(path), "--db", str(tmp_path / "none.db")]) == 2
    assert main(["plan", str(tmp_path / "absent.yaml")]) == 2
    path.write_text(yaml.safe_dump({"demand": 3}))
    assert main(["plan", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "demand" in lines[2]


@pytest.mark.parametrize(
    ("fields", "flat"), [({}, False), ({"demand": {"preset": "chat", "mean_rps": 1}, "fleet": {"survives": "replica"}}, True)]
)
def test_a_plan_is_launched_on_kubernetes(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], flat: bool
) -> None:
    db, request, planned = str(tmp_path / "studies.db"), tmp_path / "p.yaml", tmp_path / "plan.json"
    request.write_text(asked(**fields).model_dump_json(exclude_unset=True))
    assert main(["plan", str(request), "--db", db, "--json"]) == 0
    planned.write_text(capsys.readouterr().out)
    hours = json.loads(planned.read_text())["candidates"][0]["options"][0]["replicas_by_hour"]
    assert (len(set(hours)) == 1) == flat and max(hours) > 1
    trial = next(iter(json.loads(planned.read_text())["candidates"]))["deployment"]["trial"]
    words = ["launch", "chat", str(trial), "--engine", "vllm", "--on", "kubernetes", "--db", db, "--plan", str(planned)]
    assert main(words) == 0
    text = capsys.readouterr().out
    found = {each["kind"]: each["spec"] for each in yaml.safe_load_all(text)}
    assert ("ScaledObject" in found) == (not flat) and "PodDisruptionBudget" in found
    assert found["Deployment"].get("replicas") == (max(hours) if flat else None)
    many = f"{max(hours)} replicas at every hour" if flat else f"{min(hours)} to {max(hours)} replicas, by the hour of the week"
    assert f"# the plan has {many}" in text
    assert main([*words[:2], str(1 - trial), *words[3:-1], str(request)]) == 2
    assert re.fullmatch(r"--plan: .* is not allowed; allowed: a plan as .*\n", capsys.readouterr().err)
