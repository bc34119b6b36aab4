"""Other terms from stored curves: the same as asked, near a fresh search, exact in dollars, and honest where a curve ends."""

from __future__ import annotations

from typing import Any

import pytest

from db import queries
from db.session import open_store
from search import driver, requote, service
from search.fidelity import Fidelity
from search.request import SearchRequest
from simulator import catalog
from simulator.spec.slo import Slo

REQUEST: dict[str, Any] = {
    "name": "quoted",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {"device": ["H100-SXM"], "max_num_batched_tokens": [512, 2048], "max_model_len": 16384},
    "budget": {"max_gpus": 1, "trials": 2},
}
TIGHTER = {"ttft_p99_s": 0.4, "itl_p99_s": 0.2}
# Seeds scatter a capacity by one or two percent, and a line between two loads adds as much.
NEAR = 0.05


# Few requests, so that a search takes a second: the same ones behind the stored curve and the fresh search.
LEVELS = {
    "SCREEN": Fidelity(requests=500, seeds=1, tolerance=0.01, spread=0.2, latency_spread=0.5),
    "RESCORE": Fidelity(requests=1000, seeds=1, tolerance=0.01, spread=0.1, latency_spread=0.2),
    "FINAL": Fidelity(requests=4000, seeds=4, tolerance=0.005, spread=0.1, latency_spread=0.2),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns a store with a study, and the one that asks for a tighter Slo from the start."""
    place = str(tmp_path_factory.mktemp("requote") / "studies.db")
    with pytest.MonkeyPatch.context() as patch:
        for level, fidelity in LEVELS.items():
            patch.setattr(driver, level, fidelity)
        for name, slo in (("loose", REQUEST["slo"]), ("tight", TIGHTER)):
            service.run_search(SearchRequest.parse({**REQUEST, "name": name, "slo": slo}), db=place, executor="inline")
    return place


def quoted(db: str, slo: dict[str, float] | None = None, book: str = "cloud-2026-11", name: str = "loose") -> dict[str, Any]:
    """Returns what the curves of a study say under other terms."""
    with open_store(db) as store:
        row = queries.study(store, name)
        terms = requote.terms_of(row, None if slo is None else Slo.parse(slo), catalog.price_book(book), None)
        return requote.requote(row, queries.trials(store, row.id), terms)


def best(db: str, name: str) -> Any:
    """Returns the first point of a study's frontier."""
    with open_store(db) as store:
        return queries.frontier(store, queries.study(store, name).id)[0]


def test_the_same_terms_give_the_same_best(db: str) -> None:
    first, own = quoted(db)["items"][0], best(db, "loose")
    assert first["trial"] == own.trial.number
    assert first["capacity_rps"]["value"] == pytest.approx(own.trial.capacity_rps)
    assert first["objectives"] == pytest.approx(own.point.objectives)
    assert not first["interpolated"]


def test_a_tighter_slo_is_near_a_fresh_search(db: str) -> None:
    first, fresh = quoted(db, TIGHTER)["items"][0], best(db, "tight")
    assert first["capacity_rps"]["value"] == pytest.approx(fresh.trial.capacity_rps, rel=NEAR)
    cost = "usd_per_million_output_tokens"
    assert first["objectives"][cost] == pytest.approx(fresh.point.objectives[cost], rel=NEAR)
    assert first["binding"] == fresh.trial.binding
    assert first["capacity_rps"]["value"] < quoted(db)["items"][0]["capacity_rps"]["value"]


def test_another_price_book_changes_dollars_alone(db: str) -> None:
    old, new = quoted(db)["items"][0], quoted(db, book="vidur-paper-2024")["items"][0]
    ratio = new["bill"]["usd_per_hour"] / old["bill"]["usd_per_hour"]
    assert ratio != 1
    cost = "usd_per_million_output_tokens"
    same = next(item for item in quoted(db)["items"] if (item["trial"], item["rate_rps"]) == (new["trial"], new["rate_rps"]))
    assert new["objectives"][cost] == pytest.approx(same["objectives"][cost] * ratio)
    assert new["metrics"]["ttft_s"] == same["metrics"]["ttft_s"]


def test_what_no_run_keeps_and_what_no_run_breaks_is_said(db: str) -> None:
    impossible = quoted(db, {"ttft_p99_s": 1e-4})
    assert impossible["items"] == []
    assert all("lightest load" in each["reason"] for each in impossible["outside"])
    easy = quoted(db, {"ttft_p99_s": 1e6})
    assert easy["items"]
    assert all("at least" in each["reason"] for each in easy["outside"])
    assert easy["outside"]
