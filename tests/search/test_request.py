"""Requests and scenarios: what a file may say, how it is refused, and when two requests are the same."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from search import request as search_request
from search.request import SearchRequest
from simulator import scenario
from simulator.errors import InputError

EXAMPLE = """
name: chat-8b
model: meta-llama/Llama-3.1-8B
workload: {preset: chat}
slo: {ttft_p99_s: 2.0, itl_p99_s: 0.2}
demand: {rate_rps: 40}
prices: cloud-2026-11
space:
  device: [H100-SXM, A100-80G-SXM, L40S]
  tensor_parallel_size: [1, 2, 4]
  scheduler: [vllm_v1, sarathi_serve]
  max_num_batched_tokens: [512, 1024, 2048, 4096]
objectives: [usd_per_million_output_tokens, ttft_p99_s]
budget: {max_gpus: 16, trials: 300}
sampler: auto
"""
TRACE = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,10,5\n1.0,20,5\n"
BOOK = """
date: "2026-01-01"
instances: [{name: box, provider: own, device: H100-SXM, gpus: 8, on_demand_usd_per_hour: 16.0, source: invoice}]
sources: {invoice: an invoice}
"""


def example(**changes: Any) -> dict[str, Any]:
    """Returns the example as a mapping; a field changed to ... is left out."""
    data: dict[str, Any] = {**yaml.safe_load(EXAMPLE), **changes}
    return {name: value for name, value in data.items() if value is not ...}


def test_the_example_is_read_and_resolved() -> None:
    request = SearchRequest.parse(example())
    assert request.engine == "vllm-0.19"
    assert request.demand is not None and request.demand.rate_rps == 40
    assert [objective.direction for objective in request.objective_list] == ["minimize", "minimize"]
    assert request.price_book is not None
    assert request.build_space().size == 72
    problem = request.problem()
    assert (problem.trials, problem.seed, problem.directions) == (300, 0, ("minimize", "minimize"))


def test_what_is_left_out_has_its_default() -> None:
    request = SearchRequest.parse(example(demand=..., objectives=..., budget=..., sampler=...))
    assert request.demand is None
    assert request.objectives == ("usd_per_million_output_tokens", "ttft_p99_s")
    assert (request.budget.max_gpus, request.budget.trials, request.sampler, request.seed) == (16, 300, "auto", 0)
    assert request.profiles is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ...}, r"^name: missing; allowed: a value, since the field is required$"),
        ({"slo": ...}, r"^slo: missing"),
        ({"slo": {"ttft_p99_ms": 2000}}, r"^slo\.ttft_p99_ms: 2000 is not allowed; allowed: seconds, as ttft_p99_s$"),
        ({"workload": {"preset": "chat", "rate": 3}}, r"^workload\.rate \(unknown field\): 3 is not allowed; allowed: .*rate_rps"),
        ({"bugdet": {}}, r"^bugdet \(unknown field\): \{\} is not allowed; allowed: .*budget"),
        ({"budget": {"trials": 0}}, r"^budget\.trials: 0 is not allowed; allowed: greater than 0$"),
        ({"budget": {"gpus": 2}}, r"^budget\.gpus \(unknown field\): 2 is not allowed; allowed: max_gpus, trials$"),
        ({"demand": {"rate_rps": "40"}}, r"^demand\.rate_rps: '40' is not allowed"),
        ({"demand": 40}, r"^demand: 40 is not allowed"),
        ({"workload": {"preset": "chat", "users": 5}}, r"^demand\.rate_rps: 40 is not allowed; allowed: no demand with workload"),
        ({"seed": -1}, r"^seed: -1 is not allowed"),
        ({"model": "Llama-3.1-8B"}, r"^model: 'Llama-3.1-8B' is not allowed; allowed: meta-llama/Llama-3.1-8B, "),
        ({"engine": "vllm"}, r"^engine: 'vllm' is not allowed; allowed: .*vllm-0.19"),
        ({"prices": "cloud"}, r"^prices: 'cloud' is not allowed; allowed: .*cloud-2026-11"),
        ({"prices": None}, r"^prices: None is not allowed; allowed: a price book, since usd_per_million_output_tokens needs one"),
        ({"sampler": "grid"}, r"^sampler: 'grid' is not allowed; allowed: .*enumerate"),
        ({"objectives": []}, r"^objectives: \[\] is not allowed"),
        ({"objectives": "gpus"}, r"^objectives: 'gpus' is not allowed"),
        ({"objectives": ["gpus", "ttft"]}, r"^objectives\.1: 'ttft' is not allowed; allowed: .*ttft_p99_s"),
        ({"objectives": ["gpus", "gpus"]}, r"^objectives\.1: 'gpus' is not allowed; allowed: every objective once$"),
        ({"space": [1]}, r"^space: \[1\] is not allowed"),
        ({"space": {"device": "H100-SXM", "tensor_parallel_size": {"low": 4, "high": 1, "log2": True}}},
         r"^space\.tensor_parallel_size\.high: 1 is not allowed; allowed: at least low \(4\)$"),
        ({"space": {"device": "H100-SXM", "replicas": 2}}, r"^space\.replicas: 2 is not allowed; allowed: nothing, since demand"),
        ({"profiles": []}, r"^profiles: \[\] is not allowed"),
        ({"profiles": ["table.npz"]}, r"^profiles\.0: 'table.npz' is not allowed"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_one_line_with_the_path_of_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        SearchRequest.parse(example(**changes))
    assert "\n" not in str(caught.value)


def test_a_request_without_dollars_needs_no_price_book() -> None:
    assert SearchRequest.parse(example(prices=..., objectives=["gpus", "ttft_p99_s"])).price_book is None


def test_a_request_survives_json_and_pickle() -> None:
    request = SearchRequest.parse(example(workload={"prompt_tokens": 100, "output_tokens": {"uniform": {"low": 1, "high": 9}}}))
    assert SearchRequest.parse(json.loads(request.canonical())) == request
    assert pickle.loads(pickle.dumps(request)) == request
    assert SearchRequest.parse(json.loads(request.canonical())).digest() == request.digest()


def test_trials_and_seed_can_be_overridden() -> None:
    request = SearchRequest.parse(example())
    assert request.override() == request
    assert (request.override(trials=7).budget.trials, request.override(seed=3).seed) == (7, 3)
    with pytest.raises(InputError, match=r"^budget\.trials: 0 is not allowed"):
        request.override(trials=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a request and a scenario beside the files that they name."""
    (tmp_path / "requests.csv").write_text(TRACE)
    (tmp_path / "book.yaml").write_text(BOOK)
    (tmp_path / "table.npz").write_bytes(b"table")
    shared = {"prices": "book.yaml", "profiles": [{"source": "vidur_tables", "path": "table.npz"}]}
    data = example(workload={"trace": "requests.csv"}, space={"device": "H100-SXM"}, **shared)
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(data))
    deployment = {"model": data["model"], "device": "H100-SXM"}
    scenario_data = {"deployment": deployment, "workload": {"trace": "./requests.csv"}, **shared}
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(scenario_data))
    return tmp_path


def test_paths_are_relative_to_the_file_that_names_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    relative = Path(folder.name)
    for read in (search_request.read(relative / "search.yaml"), scenario.read(relative / "scenario.yaml")):
        assert read.workload.trace == str(folder / "requests.csv")
        assert read.prices == str(folder / "book.yaml")
        assert read.profiles is not None and read.profiles[0]["path"] == str(folder / "table.npz")
    assert scenario.read(folder / "scenario.yaml").price_book() is not None


def test_the_trace_of_an_upload_and_a_book_of_the_catalog_are_no_paths() -> None:
    data = {"workload": {"trace": "sha256:abc"}, "prices": "cloud-2026-11"}
    assert scenario.anchored(data, Path("/elsewhere")) == data


def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    with pytest.raises(InputError, match=r"^file: .*scenario.yaml' is not allowed; allowed: a readable YAML file"):
        scenario.read(path)
    path.write_text("deployment: {model: a, device: b, tensor_parallel_size: 0}\nworkload: {preset: chat}\n")
    with pytest.raises(InputError, match=r"^deployment\.tensor_parallel_size: 0 is not allowed; allowed: greater than 0$"):
        scenario.read(path)


def test_the_digest_knows_files_by_their_content_and_not_by_their_path(folder: Path, tmp_path: Path) -> None:
    before = search_request.read(folder / "search.yaml").digest()
    moved = folder / "elsewhere"
    moved.mkdir()
    for name in ("requests.csv", "book.yaml", "table.npz", "search.yaml"):
        (moved / name).write_bytes((folder / name).read_bytes())
    assert search_request.read(moved / "search.yaml").digest() == before
    for name, text in (("requests.csv", TRACE + "2.0,1,1\n"), ("book.yaml", BOOK.replace("16.0", "17.0")), ("table.npz", "other")):
        kept = (moved / name).read_bytes()
        (moved / name).write_text(text)
        assert search_request.read(moved / "search.yaml").digest() != before, name
        (moved / name).write_bytes(kept)


def test_the_digest_is_equal_for_equal_spaces_and_differs_for_any_other_change() -> None:
    first = SearchRequest.parse(example(space={"device": "H100-SXM", "tensor_parallel_size": [1, 2, 4]})).digest()
    same = {"tensor_parallel_size": {"low": 1, "high": 4, "log2": True}, "device": ["H100-SXM"]}
    assert SearchRequest.parse(example(space=same)).digest() == first
    different: list[dict[str, Any]] = [
        {"seed": 1},
        {"demand": ...},
        {"slo": {"ttft_p99_s": 2.0}},
        {"sampler": "random"},
        {"prices": "vidur-paper-2024"},
        {"space": {"device": "H100-SXM"}},
    ]
    for changes in different:
        changed = example(**{"space": {"device": "H100-SXM", "tensor_parallel_size": [1, 2, 4]}, **changes})
        assert SearchRequest.parse(changed).digest() != first, changes


def test_the_digest_of_a_missing_trace_names_the_field() -> None:
    request = SearchRequest.parse(example(workload={"trace": "/no/such/trace.csv"}))
    with pytest.raises(InputError, match=r"^workload\.trace: '/no/such/trace.csv' is not allowed; allowed: a readable file"):
        request.digest()
