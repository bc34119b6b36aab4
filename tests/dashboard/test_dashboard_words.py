from __future__ import annotations

from typing import Any

import pytest

from dashboard import words
from dashboard.axis import axis_of
from simulator.errors import InputError

ONE = {"device": "L40S", "tensor_parallel_size": 1, "pipeline_parallel_size": 1, "replicas": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, words.ABSENT),
        (0, "0"),
        (40.0, "40"),
        (45.97, "46.0"),
        (0.5, "0.500"),
        (128.4, "128"),
        (12_345.6, "12,346"),
        (0.0001234, "0.000123"),
    ],
)
def test_a_number_keeps_the_digits_that_its_neighbours_have(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, words.ABSENT), (0.0, "$0.00"), (0.0312, "$0.0312"), (0.11, "$0.110"), (27.447, "$27.45"), (54_321.0, "$54,321")],
)
def test_dollars(value: float | None, text: str) -> None:
    assert words.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.2, "200 ms"), (0.0231, "23.1 ms"), (2.0, "2 s"), (1.239, "1.24 s"), (None, words.ABSENT)]
)
def test_a_duration_is_in_the_unit_that_people_use(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("name", "text"), [("ttft_p99_s", "TTFT p99"), ("e2e_mean_s", "E2E mean"), ("saturated_rate", "Saturated rate")]
)
def test_a_name_as_it_is_said(name: str, text: str) -> None:
    assert words.spoken(name) == text


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "1 x L40S"),
        ({"replicas": 3}, "3 x L40S, 3 replicas"),
        ({"tensor_parallel_size": 2}, "2 x L40S, TP 2"),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "replicas": 2}, "8 x L40S, 2 replicas of TP 2 x PP 2"),
        ({"tensor_parallel_size": 2, "data_parallel_size": 4}, "8 x L40S, TP 2 x DP 4"),
    ],
)
def test_a_deployments_title_counts_gpus(changes: dict[str, int], title: str) -> None:
    assert words.deployment_title({**ONE, **changes}) == title.replace(" x ", f" {words.TIMES} ")


def test_only_knobs_that_differ_are_told_and_the_title_is_not_repeated() -> None:
    first: dict[str, Any] = {**ONE, "router": "round_robin", "max_num_seqs": 128, "scheduler": "vllm_v1", "block_size": 16}
    second = {**first, "replicas": 2, "max_num_seqs": 256, "scheduler": "sglang"}
    names = words.differing([first, second])
    assert names == ("scheduler", "max_num_seqs")
    assert words.knobs(second, names) == "sglang · max_num_seqs 256"


@pytest.mark.parametrize(
    ("name", "title", "minimize", "limit"),
    [
        ("ttft_p99_s", "TTFT p99 (s)", True, 2.0),
        ("usd_per_million_output_tokens", "USD per million output tokens", True, None),
        ("capacity_rps", "Capacity (requests per second)", False, None),
    ],
)
def test_an_axis_has_its_unit_its_direction_and_the_slos_bound(name: str, title: str, minimize: bool, limit: float | None) -> None:
    axis = axis_of(name, {"ttft_p99_s": 2.0})
    assert (axis.title, axis.minimize, axis.limit) == (title, minimize, limit)


def test_an_unknown_objective_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="ttft_p99_s"):
        axis_of("ttft_p98_s", {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "scheduler_options by default"),
        ({"chunk_size": 512, "mixed": True}, "scheduler_options.chunk_size 512, scheduler_options.mixed on"),
    ],
)
def test_options_are_told_one_by_one(value: object, text: str) -> None:
    assert words.knob("scheduler_options", value) == text
