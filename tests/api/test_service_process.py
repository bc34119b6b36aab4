"""The service as processes: a study from its submit to its frontier, and what a client may count on in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import httpx
import psutil
import pytest

from search.client import Client
from simulator.errors import InputError, TrimtabError
from tests.api.asking import LONG, REQUEST, Service, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(service: Service) -> str:
    """Returns the id of a study that has run to its end."""
    with Client(service.url) as client:
        study = client.submit(REQUEST).id
        kinds = [(event.kind, event.data.get("state")) for event in client.events(study)]
    assert kinds[0] == ("state", "queued")
    assert kinds[-1] == ("state", "done")
    assert "progress" in {kind for kind, _ in kinds}
    return study


def test_a_study_is_submitted_followed_and_read(client: Client, done: str) -> None:
    frontier = client.frontier(done)
    assert frontier["study"]["state"] == "done"
    assert frontier["study"]["trials"] == {"done": 4, "infeasible": 0, "failed": 0}
    assert [item["rank"] for item in frontier["items"]] == list(range(1, len(frontier["items"]) + 1))
    assert client.study("small")["id"] == done
    assert client.study(done)["best"]["trial"] == frontier["items"][0]["trial"]
    assert [each["trial"] for each in client.trials(done, limit=3)["items"]] == [0, 1, 2]
    assert [each["trial"] for each in client.trials(done, limit=3, cursor="2")["items"]] == [3]


def test_events_go_on_after_the_last_one_seen(client: Client, done: str) -> None:
    every = list(client.events(done))
    assert [event.id for event in every] == list(range(1, len(every) + 1))
    assert list(client.events(done, after=every[2].id)) == every[3:]


def test_a_repeated_submit_is_one_study(service: Service) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {**REQUEST, "name": "once", "budget": {"max_gpus": 2, "trials": 1}}
    with httpx.Client(base_url=service.url + "/api/v1", timeout=60) as http:
        first = http.post("/studies", json=body, headers=headers)
        assert first.status_code == 202
        assert first.headers["location"] == f"/api/v1/studies/{first.json()['id']}"
        again = http.post("/studies", json=body, headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        other = http.post("/studies", json={**body, "name": "other"}, headers=headers)
        assert other.status_code == 409
        assert other.headers["content-type"] == "application/problem+json"
        assert [each["name"] for each in http.get("/studies", params={"name": "once"}).json()["items"]] == ["once"]


def test_a_running_study_is_cancelled_in_seconds_and_goes_on_when_resumed(client: Client) -> None:
    study = client.submit(LONG).id
    until(lambda: client.study(study)["state"] == "running", 60, "it never runs")
    client.cancel(study)
    until(lambda: client.study(study)["state"] == "cancelled", 60, "it is not cancelled")
    client.resume(study)
    assert client.study(study)["state"] in ("queued", "running")
    client.cancel(study)
    until(lambda: client.study(study)["state"] == "cancelled", 60, "it is not cancelled again")
    client.delete(study)
    with pytest.raises(InputError, match="study"):
        client.study(study)


def test_a_clone_changes_what_it_names(client: Client, done: str) -> None:
    clone = client.clone(done, {"name": "clone", "slo": {"ttft_p99_s": 1.0}, "budget": {"trials": 1}}).id
    request = client.study(clone)["request"]
    assert (request["slo"], request["budget"]) == ({"ttft_p99_s": 1.0}, {"max_gpus": 2, "trials": 1})
    assert request["space"] == client.study(done)["request"]["space"]


def test_what_has_its_answer_is_not_resumed(client: Client, done: str) -> None:
    with pytest.raises(TrimtabError, match="done"):
        client.resume(done)


def test_lists_are_filtered_and_come_in_pages(client: Client, done: str) -> None:
    for place in range(3):
        client.submit({**REQUEST, "name": f"page-{place}", "budget": {"max_gpus": 2, "trials": 1}})
    found, cursor = [], None
    while True:
        page = client.studies(limit=2, cursor=cursor, model="meta-llama/Llama-3.1-8B")
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len({each["id"] for each in found}) == len(found) >= 4
    assert [each["created_at"] for each in found] == sorted((each["created_at"] for each in found), reverse=True)
    assert client.studies(model="none")["items"] == []
    assert done in {each["id"] for each in client.studies(state="done")["items"]}
    assert done not in {each["id"] for each in client.studies(since="2999-01-01T00:00:00Z")["items"]}


def test_a_stream_of_events_goes_on_after_the_service_was_restarted(serve: Callable[..., Service]) -> None:
    first = serve()
    with Client(first.url) as client:
        study = client.submit({**REQUEST, "workload": {"preset": "chat"}}).id
        seen = []
        events = client.events(study)
        seen.append(next(events))
        seen.append(next(events))
        assert first.end() == 0
        second = serve(port=first.port)
        assert second.url == first.url
        seen += events
    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].data["state"] == "done"


def test_a_worker_that_dies_is_started_again(serve: Callable[..., Service]) -> None:
    started = serve()

    def workers() -> list[int]:
        children = psutil.Process(started.process.pid).children()
        return [child.pid for child in children if child.is_running() and "worker" in _words(child)]

    until(lambda: len(workers()) == 1, 120, "there is no worker")
    (before,) = workers()
    os.kill(before, signal.SIGKILL)
    until(lambda: workers() not in ([], [before]), 120, "there is no new worker")
    (after,) = workers()
    assert started.end() == 0
    assert not psutil.pid_exists(after)


def _words(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
    return found
