"""Objectives: every file of the folder under one contract, and the numbers that they read."""

import math
from pathlib import Path

import pytest

from search import objectives
from search.objectives import Interval, OperatingPoint
from simulator.errors import InputError
from simulator.spec.metrics import Distribution, Metrics

CAPACITY = Interval(12.0, 11.0, 13.0)


def distribution(base: float | None) -> Distribution:
    """Returns a distribution whose statistics are all different."""
    numbers = [None] * 6 if base is None else [base + step for step in (0.5, 1, 2, 3, 4, 5)]
    return Distribution(mean=numbers[0], p50=numbers[1], p90=numbers[2], p95=numbers[3], p99=numbers[4], max=numbers[5])


def point(usd_per_hour: float | None = 8.0, capacity: Interval | None = CAPACITY) -> OperatingPoint:
    """Returns a point on four GPUs in which no two numbers are equal."""
    metrics = Metrics(
        ttft_s=distribution(10),
        tpot_s=distribution(None),
        itl_s=distribution(30),
        itl_max_s=distribution(40),
        e2e_s=distribution(50),
        queue_s=distribution(60),
        requests=1000,
        rejected=0,
        single_token_requests=1000,
        duration_s=100.0,
        request_throughput_rps=10.0,
        output_token_throughput_tps=2000.0,
        total_token_throughput_tps=9000.0,
        goodput_rps=9.0,
        slo_met=True,
        iterations=500,
        mean_batch_size=8.0,
        preemptions=0,
        kv_blocks=700,
        kv_utilization=0.5,
        mfu=None,
        gpus=4,
        usd_per_hour=usd_per_hour,
        usd_per_million_output_tokens=None if usd_per_hour is None else 1.25,
        usd_per_million_tokens=None if usd_per_hour is None else 0.25,
    )
    return OperatingPoint(3, 10.0, metrics, 4, capacity, usd_per_hour)


def value(name: str, at: OperatingPoint) -> float | None:
    """Returns the value of the objective called `name`."""
    return objectives.load(name).value(at)


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_keeps_the_contract(name: str) -> None:
    objective = objectives.load(name)
    assert objective.name == name
    assert objective.direction in ("minimize", "maximize")
    assert objective.unit
    assert "\n" not in objective.title
    number = objective.value(point())
    assert number is None or (isinstance(number, float) and math.isfinite(number))
    assert objective.needs_prices == name.startswith(("usd_", "capacity_rps_per_usd"))
    if objective.needs_prices:
        assert objective.value(point(usd_per_hour=None)) is None


def test_every_file_is_an_objective_by_its_name_or_a_family() -> None:
    stems = {path.stem for path in Path(objectives.__file__).parent.glob("*.py")} - {"__init__", "latency"}
    assert stems < set(objectives.names())
    assert "latency" not in objectives.names()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("usd_per_million_output_tokens", 1.25),
        ("usd_per_million_tokens", 0.25),
        ("usd_per_hour", 8.0),
        ("capacity_rps", 12.0),
        ("capacity_rps_per_usd_hour", 1.5),
        ("output_tokens_per_gpu_s", 500.0),
        ("gpus", 4.0),
        ("ttft_p99_s", 14.0),
        ("ttft_mean_s", 10.5),
        ("itl_p50_s", 31.0),
        ("e2e_p90_s", 52.0),
        ("queue_p95_s", 63.0),
    ],
)
def test_an_objective_reads_its_number(name: str, number: float) -> None:
    assert value(name, point()) == pytest.approx(number)


def test_what_was_not_measured_has_no_value() -> None:
    assert value("tpot_p99_s", point()) is None
    assert value("capacity_rps", point(capacity=None)) is None
    assert value("capacity_rps_per_usd_hour", point(usd_per_hour=0.0)) is None


def test_latencies_and_cost_are_minimized_and_throughput_maximized() -> None:
    maximized = {name for name in objectives.names() if objectives.load(name).direction == "maximize"}
    assert maximized == {"capacity_rps", "capacity_rps_per_usd_hour", "output_tokens_per_gpu_s"}


def test_an_unknown_objective_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"^objectives\.1: 'ttft_p98_s' is not allowed; allowed: .*ttft_p99_s"):
        objectives.load("ttft_p98_s", "objectives.1")
    with pytest.raises(InputError):
        objectives.load("latency")
