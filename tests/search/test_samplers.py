"""Samplers: one conformance suite for every file, and what each promises beyond the contract."""

import sys
from collections.abc import Iterator

import pytest

from search import samplers
from search.samplers import Problem, Sampler, Values
from search.space import Limits, Space
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

DEVICES = ["A40", "L40S", "A100-80G-SXM", "H100-SXM"]
SMALL = {"device": ["A40", "H100-SXM"], "tensor_parallel_size": [1, 2, 3], "max_num_seqs": [64, 128, 256]}
WIDE = {
    "device": DEVICES,
    "tensor_parallel_size": [1, 2, 3, 4],
    "max_num_batched_tokens": {"low": 1024, "high": 16384, "step": 1024},
    "max_num_seqs": {"low": 32, "high": 512, "step": 32},
}


def problem(data: object = SMALL, trials: int = 100, seed: int = 0) -> Problem:
    """Returns two objectives over a fresh space."""
    space = Space.parse(data, model="meta-llama/Llama-3.1-8B", engine="vllm-0.19", limits=Limits(16))
    return Problem(space, ("minimize", "maximize"), trials, seed)


def score(deployment: Resolved) -> Values | None:
    """Returns two smooth numbers whose best lies at 12 x 1024 tokens and 320 sequences; A40 is infeasible."""
    if deployment.device == "A40":
        return None
    miss = abs(deployment.max_num_batched_tokens / 1024 - 12) + abs(deployment.max_num_seqs / 32 - 10)
    return miss + deployment.tensor_parallel_size, -miss


def study(sampler: Sampler, trials: int, batch: int = 8) -> Iterator[list[Resolved]]:
    """Yields the batches of a study that tells every result before it asks again."""
    while trials > 0 and (asked := sampler.ask(min(batch, trials))):
        sampler.tell([(deployment, score(deployment)) for deployment in asked])
        trials -= len(asked)
        yield asked


@pytest.mark.parametrize("name", samplers.names())
def test_a_sampler_gives_every_legal_deployment_once_and_then_nothing(name: str) -> None:
    task = problem()
    sampler = samplers.create(name, task)
    batches = list(study(sampler, 1000, batch=5))
    asked = [deployment for batch in batches for deployment in batch]
    assert all(len(batch) <= 5 for batch in batches)
    assert len(asked) == len(set(asked)) == 12
    assert set(asked) == set(problem().space.deployments())
    assert sampler.ask(5) == []
    assert sampler.sentence


@pytest.mark.parametrize("name", samplers.names())
def test_a_seed_gives_the_same_study(name: str) -> None:
    first, second = (list(study(samplers.create(name, problem(WIDE, 48, seed=7)), 48)) for _ in range(2))
    assert first == second
    assert sum(map(len, first)) == 48


@pytest.mark.parametrize("name", [name for name in samplers.names() if name != "auto"])
def test_another_seed_gives_another_study(name: str) -> None:
    first, second = (list(study(samplers.create(name, problem(WIDE, 16, seed)), 16)) for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("name", samplers.names())
def test_a_resumed_study_tries_nothing_again(name: str) -> None:
    done = [(deployment, score(deployment)) for deployment in problem().space.deployments()[3:10]]
    sampler = samplers.create(name, problem())
    sampler.tell(done)
    asked = [deployment for batch in study(sampler, 1000) for deployment in batch]
    assert len(asked) == 5
    assert not set(asked) & {deployment for deployment, _ in done}


@pytest.mark.parametrize("name", samplers.names())
def test_what_was_asked_but_not_told_is_not_asked_again(name: str) -> None:
    sampler = samplers.create(name, problem())
    asked = [*sampler.ask(4), *sampler.ask(4), *sampler.ask(100)]
    assert len(asked) == len(set(asked)) == 12


@pytest.mark.parametrize("name", samplers.names())
def test_results_from_outside_the_space_are_taken_in_silence(name: str) -> None:
    sampler = samplers.create(name, problem())
    stranger = problem({"device": "L40S"}).space.deployments()[0]
    sampler.tell([(stranger, (1.0, 1.0))])
    assert len([found for batch in study(sampler, 100) for found in batch]) == 12


def test_an_unknown_sampler_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"^sampler: 'tpr' is not allowed; allowed: tpe, auto, enumerate, random$"):
        samplers.create("tpr", problem())


@pytest.mark.parametrize(("trials", "chosen"), [(12, "enumerate"), (11, "tpe")])
def test_auto_enumerates_what_the_budget_covers_and_says_so(trials: int, chosen: str) -> None:
    assert samplers.create("auto", problem(trials=trials)).sentence.startswith(f"{chosen}, since ")


def test_auto_does_not_walk_a_space_beyond_counting() -> None:
    every = {"low": 1, "high": 9000, "step": 1}
    endless = {"device": "H100-SXM", "max_num_seqs": every, "max_num_batched_tokens": every}
    task = problem(endless, trials=300)
    assert task.space.size == 81_000_000
    assert samplers.create("auto", task).sentence.startswith("tpe, since ")
    assert len(samplers.create("random", task).ask(20)) == 20
    with pytest.raises(InputError, match="tpe or random, since the space has 81000000 combinations"):
        samplers.create("enumerate", task)


def test_an_enumeration_cut_short_is_a_random_share_of_the_space() -> None:
    sampler = samplers.create("enumerate", problem(WIDE, trials=60))
    assert sampler.sentence.startswith("tries a random 60 of ")
    asked = sampler.ask(60)
    assert {deployment.device for deployment in asked} == set(DEVICES)
    assert {deployment.tensor_parallel_size for deployment in asked} == {1, 2, 4}


def best(name: str, seed: int, trials: int) -> float:
    """Returns the lowest first objective that a sampler finds."""
    asked = [found for batch in study(samplers.create(name, problem(WIDE, trials, seed)), trials) for found in batch]
    return min(values[0] for values in map(score, asked) if values is not None)


def test_tpe_learns_from_results() -> None:
    seeds = range(2)
    assert sum(best("tpe", seed, 100) for seed in seeds) < sum(best("random", seed, 100) for seed in seeds)


def test_tpe_learns_to_leave_what_is_infeasible_or_illegal() -> None:
    asked = [found for batch in study(samplers.create("tpe", problem(WIDE, 120)), 120) for found in batch]
    late = [deployment for deployment in asked[60:] if deployment.device == "A40"]
    # Drawn at random, a quarter would be.
    assert len(late) < 60 / 4 / 2


def test_only_tpe_loads_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == "optuna" or module == "search.samplers.tpe"]:
        monkeypatch.delitem(sys.modules, module)
    for name in ("auto", "enumerate", "random"):
        samplers.create(name, problem()).ask(3)
    assert "optuna" not in sys.modules
