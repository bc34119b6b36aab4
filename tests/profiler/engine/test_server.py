"""The HTTP front: OpenAI's completions, whole and streamed, from clients that come together, go away and err."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from search import cli
from tests.profiler.engine import hugging
from tests.profiler.engine.test_engine import REQUESTS, alone, checkpoint, engine, prompts, ways

pytest.importorskip("fastapi")
from fastapi import FastAPI

from profiler.engine.server import application
from profiler.engine.worker import Worker

torch = hugging.torch


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(engine(async_scheduling=True))
    yield made
    made.close()


@pytest.fixture
def app(worker: Worker) -> FastAPI:
    return application(worker, "tiny")


def client(app: FastAPI) -> httpx.AsyncClient:
    """Returns a client without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


def body(k: int, **more: Any) -> dict[str, Any]:
    """Returns the body of the k-th request of the other tests."""
    way = ways()[k]
    sampled = {"max_tokens": way.max_tokens, "temperature": way.temperature, "seed": way.seed, "ignore_eos": way.ignore_eos}
    return {"model": "tiny", "prompt": prompts()[k], **sampled, **more}


async def streamed(http: httpx.AsyncClient, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the events of a streamed answer."""
    events = []
    async with http.stream("POST", "/v1/completions", json={**document, "stream": True}) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line:
                events.append(line.removeprefix("data: "))
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def test_clients_together_get_the_tokens_that_each_gets_alone(app: FastAPI) -> None:
    async def ask() -> list[Any]:
        async with client(app) as http:
            return await asyncio.gather(*(http.post("/v1/completions", json=body(k)) for k in range(REQUESTS)))

    for k, response in enumerate(asyncio.run(ask())):
        document = response.json()
        (choice,), expected = document["choices"], alone("llama")[k]
        assert choice["token_ids"] == expected and choice["text"].split() == [str(token) for token in expected]
        assert choice["finish_reason"] == ("length" if len(expected) == ways()[k].max_tokens else "stop")
        prompt = len(prompts()[k])
        cached = document["usage"].pop("prompt_tokens_details")["cached_tokens"]
        assert 0 <= cached < prompt and cached % 4 == 0
        assert document["usage"] == {
            "prompt_tokens": prompt,
            "completion_tokens": len(expected),
            "total_tokens": prompt + len(expected),
        }


def test_a_stream_has_one_event_a_token_and_the_usage_if_asked(app: FastAPI) -> None:
    async def ask() -> list[dict[str, Any]]:
        async with client(app) as http:
            return await streamed(http, body(3, stream_options={"include_usage": True}))

    *events, usage = asyncio.run(ask())
    tokens = [token for event in events for token in event["choices"][0]["token_ids"]]
    assert tokens == alone("llama")[3] and len(events) == len(tokens)
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == len(tokens)
    assert len({event["id"] for event in events}) == 1


def test_tokens_of_the_prompt_that_were_in_the_prefix_cache_are_told(app: FastAPI) -> None:
    longest = max(range(REQUESTS // 2), key=lambda k: len(prompts()[k]))

    async def ask() -> list[Any]:
        async with client(app) as http:
            first, second = [(await http.post("/v1/completions", json=body(longest))).json() for _ in range(2)]
            *_, other = await streamed(http, body(longest + REQUESTS // 2, stream_options={"include_usage": True}))
            return [first, second, other]

    first, second, other = asyncio.run(ask())
    full = (len(prompts()[longest]) - 1) // 4 * 4
    assert first["choices"][0]["token_ids"] == second["choices"][0]["token_ids"] == alone("llama")[longest]
    told = [document["usage"]["prompt_tokens_details"]["cached_tokens"] for document in (first, second, other)]
    assert told == [0, full, len(prompts()[longest]) // 4 * 4] and full > 0


def test_what_is_served_and_whether_it_lives(worker: Worker, app: FastAPI) -> None:
    async def ask() -> None:
        async with client(app) as http:
            assert (await http.get("/health")).status_code == 200
            (card,) = (await http.get("/v1/models")).json()["data"]
            assert card["id"] == "tiny" and card["max_model_len"] == 96
            await asyncio.to_thread(worker.close)
            assert (await http.get("/health")).status_code == 503
            assert (await http.post("/v1/completions", json=body(0))).status_code == 500

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"model": "other"}, 404, "'tiny'"),
        ({"prompt": "hello"}, 400, "prompt"),
        ({"prompt": [[1], [2]]}, 400, "prompt"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [97]}, 400, "0 to 96"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 96}, 400, "max_model_len"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 2}, 400, "n"),
        ({"top_p": 0.5}, 400, "top_p"),
        ({"stop": ["x"]}, 400, "stop"),
    ],
)
def test_what_cannot_be_served_is_refused(app: FastAPI, change: dict[str, Any], status: int, told: str) -> None:
    async def ask() -> httpx.Response:
        async with client(app) as http:
            return await http.post("/v1/completions", json={**body(0), **change})

    response = asyncio.run(ask())
    assert response.status_code == status and told in response.json()["error"]["message"]


def test_a_failing_engine_tells_everybody(worker: Worker, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(worker.engine.runner, "run", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    async def ask() -> list[Any]:
        async with client(app) as http:
            first = await asyncio.gather(*(http.post("/v1/completions", json=body(k)) for k in range(3)))
            return [*first, await http.get("/health")]

    *answers, health = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [500] * 3 and health.status_code == 503
    assert str(worker.failure) == "out of memory"


def test_memory_that_runs_out_is_told_to_everybody(worker: Worker, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(worker.engine.runner, "launch", fail)
    ended = threading.Event()
    worker.on_failure = ended.set

    async def ask() -> list[Any]:
        async with client(app) as http:
            first = await asyncio.gather(*(http.post("/v1/completions", json=body(k)) for k in range(3)))
            return [*first, await http.get("/health")]

    *answers, health = asyncio.run(ask())
    assert health.status_code == 503 and ended.wait(60)
    for answer in answers:
        assert answer.status_code == 500 and "ran out of memory on cpu" in answer.json()["error"]["message"]


# The command


def test_the_command_ends_in_one_line_when_memory_runs_out(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from profiler.engine import serving
    from profiler.engine.runner import Runner

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    class Asking(Worker):
        """Asks itself for something as soon as it is there."""

        def __init__(self, one: Any) -> None:
            super().__init__(one)
            threading.Timer(1.0, lambda: self.submit(prompts()[0], ways()[0], lambda landed: None)).start()

    monkeypatch.setattr(Runner, "run", fail)
    monkeypatch.setattr(serving, "Worker", Asking)
    asked = ["--model-path", str(checkpoint("llama")), "--port", "0", "--set", "max_model_len=96"]
    assert cli.main(["engine", "serve", *asked]) == 1
    ready, line = capfd.readouterr().err.splitlines()
    assert "serves" in ready and "ran out of memory on cpu (CUDA out of memory)" in line


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    steps = tmp_path / "steps.csv"
    asked = ["--model-path", str(checkpoint("llama")), "--port", "0", "--steps", str(steps), "--served-model-name", "tiny"]
    knobs = [
        f"--set={knob}"
        for knob in ("max_num_seqs=4", "block_size=4", "max_model_len=96", "num_gpu_blocks_override=100", "tensor_parallel_size=2")
    ]
    command = [sys.executable, "-c", "from search.cli import entry; entry()", "engine", "serve", *asked, *knobs]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        try:
            assert process.stderr is not None
            told = process.stderr.readline()
            found = re.match(r"(http://\S+) serves tiny on cpu, vllm_v1, 100 KV blocks$", told)
            assert found, told
            with httpx.Client(base_url=found[1], timeout=60) as http:
                tokens = http.post("/v1/completions", json=body(1)).json()["choices"][0]["token_ids"]
                assert tokens == alone("llama")[1]
                # A client that goes away takes its request out: the engine ends without it.
                with http.stream("POST", "/v1/completions", json={**body(3), "stream": True}) as response:
                    assert next(response.iter_lines()).startswith("data: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
        finally:
            process.kill()
    rows = list(csv.DictReader(steps.read_text().splitlines()))
    assert rows[0]["scheduled"] == f"0:{len(prompts()[1])}" and rows[0]["admitted"] == "0:0"
    assert float(rows[0]["end_s"]) > float(rows[0]["start_s"]) > 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "--model-path and --random: 'neither'"),
        (["--random", "a", "--model-path", "b"], "--model-path and --random: 'both'"),
        (["--random", "meta-llama/Llama"], "--random: 'meta-llama/Llama' is not allowed"),
        (["--model-path", "/nowhere"], "--model-path"),
        (["--random", "a", "--set", "max_seqs=3"], "max_num_seqs"),
        (["--random", "a", "--set", "x"], "--set"),
    ],
)
def test_wrong_options_are_told_in_one_line(asked: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", "serve", "--port", "0", *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
