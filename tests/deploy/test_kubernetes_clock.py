"""Kubernetes: how many replicas run in each hour of a plan's week, and how long they may take to start."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.platforms import ALL, platform
from simulator.errors import InputError
from tests.deploy.test_platforms import placed, resolved


def test_the_clock_has_the_replicas_of_every_hour() -> None:
    deployment = resolved(device="H100-SXM")
    hours = tuple(2 + (hour % 24 in range(9, 18)) * (3 if hour < 120 else 1) for hour in range(168))
    found = platform("kubernetes").documents(deployment, placed(deployment, replicas_by_hour=hours))
    [scaled] = [each for each in found if each["kind"] == "ScaledObject"]
    least = scaled["spec"]["minReplicaCount"]
    replayed = [least] * 168
    for trigger in scaled["spec"]["triggers"]:
        told = trigger["metadata"]
        minute, start, *_, day = told["start"].split()
        last_minute, last, *_, same = told["end"].split()
        assert (minute, last_minute, told["timezone"], day) == ("0", "59", "Etc/UTC", same)
        first = 24 * ((int(day) - 1) % 7)
        for hour in range(first + int(start), first + int(last) + 1):
            replayed[hour] = int(told["desiredReplicas"])
    assert tuple(replayed) == hours
    assert "replicas" not in found[0]["spec"]
    assert platform("kubernetes").parse(found)[ALL][1] == max(hours)


@pytest.mark.parametrize("start_up_s", [61.0, 900.0, 30 * 3600.0])
def test_replicas_are_started_before_the_hour_that_they_serve(start_up_s: float) -> None:
    deployment = resolved(device="H100-SXM")
    hours = (5,) + (2,) * 23 + (3,) + (2,) * 143
    found = platform("kubernetes").documents(deployment, placed(deployment, replicas_by_hour=hours, start_up_s=start_up_s))
    triggers = [each["metadata"] for each in found[-1]["spec"]["triggers"]]
    for trigger, serves in zip(triggers, (0, 24 * 60), strict=True):
        minute, hour, *_, day = map(int, trigger["start"].replace("* * ", "").split())
        started = 24 * 60 * ((day - 1) % 7) + 60 * hour + minute
        assert (serves - started) % (7 * 24 * 60) == -(-start_up_s // 60)
    assert [trigger["end"].split()[:2] for trigger in triggers] == [["59", "0"]] * 2


def test_hours_that_are_alike_need_no_clock() -> None:
    deployment = resolved(device="H100-SXM")
    found = platform("kubernetes").documents(deployment, placed(deployment, replicas_by_hour=(3,) * 168))
    # KEDA refuses a ScaledObject without triggers.
    assert [each["kind"] for each in found] == ["Deployment", "Service", "PodDisruptionBudget"]
    assert found[0]["spec"]["replicas"] == 3 == platform("kubernetes").parse(found)[ALL][1]


def test_replicas_of_a_plan_need_the_router_and_the_budget_of_several() -> None:
    several: dict[str, Any] = {"replicas_by_hour": (1,) * 160 + (2,) * 8}
    one = resolved(device="H100-SXM")
    found = platform("kubernetes").documents(one, placed(one, **several))
    assert "PodDisruptionBudget" in [each["kind"] for each in found]
    routed = resolved(device="H100-SXM", router="prefix_aware")
    with pytest.raises(InputError, match="router"):
        platform("kubernetes").documents(routed, placed(routed, **several))


def test_a_rollout_may_take_as_long_as_a_replica_takes_to_start() -> None:
    deployment = resolved(device="H100-SXM")
    spec = platform("kubernetes").documents(deployment, placed(deployment))[0]["spec"]
    probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
    assert spec["progressDeadlineSeconds"] > probe["failureThreshold"] * probe["periodSeconds"]
