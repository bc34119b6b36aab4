"""The load generator beside the stamps of `transformers serve`, a server that is not ours; prints both.

python -m tests.profiler.load.transformers_serve
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from profiler.load.generate import Options, run
from profiler.load.measured import Measured
from profiler.load.target import Target
from profiler.load.text import WORDS
from simulator.draw import draw
from simulator.spec.workload import Workload

REQUESTS, RATE, TOKENS = 10, 0.4, 24
WORKLOAD: dict[str, Any] = {
    "prompt_tokens": {"uniform": {"low": 100, "high": 300}},
    "output_tokens": {"fixed": TOKENS},
    "num_requests": REQUESTS,
    "seed": 5,
}


class Beside(NamedTuple):
    """One figure twice: by the load generator and by the server's own stamps."""

    client: float
    server: float

    @property
    def error(self) -> float:
        """The relative difference."""
        return self.client / self.server - 1


def make(folder: Path) -> None:
    """Writes a model with random weights, and a tokenizer that has a token for each word of our prompts and no end."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = LlamaConfig(vocab_size=len(vocabulary), num_key_value_heads=4, max_position_embeddings=2048, **sizes, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)


@contextmanager
def served(folder: Path, stamps: Path) -> Iterator[Target]:
    """Yields the server of the model in `folder`, up and answering; it is ended with the context."""
    model = str(folder / "model")
    script = Path(__file__).with_name("stamped_serve.py")
    port = _free_port()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, str(script), str(stamps), model, "--port", str(port)]
    with (folder / "server.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
        try:
            _wait(f"http://localhost:{port}/health", process, folder / "server.log")
            yield Target(f"http://localhost:{port}", model, "completions", "text")
        finally:
            process.terminate()
            process.wait(20)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"transformers serve is not up: {log.read_text()[-500:]}")


def compare() -> tuple[dict[str, Beside], Measured]:
    """Returns TTFT, ITL, E2E and tokens of one run, by the load generator and by the server's stamps; means in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder, stamps = Path(name), Path(name) / "stamps.jsonl"
        make(folder / "model")
        with served(folder, stamps) as target:
            traffic = draw(Workload.parse(WORKLOAD), None, 5)
            measured = run(target, traffic, RATE, Options(seed=5, warmup=2))
        rows = [json.loads(line) for line in stamps.read_text().splitlines()]
    metrics = measured.metrics()
    told = [_stamped(row) for row in rows if json.loads(row["request"])["max_tokens"] == TOKENS]
    first = np.array([times[0] - arrived for arrived, times in told])
    gaps = np.concatenate([np.diff(times) for _, times in told])
    whole = np.array([times[-1] - arrived for arrived, times in told])
    found = {"ttft_s": first.mean(), "itl_s": gaps.mean(), "e2e_s": whole.mean()}
    beside = {name: Beside(float(getattr(metrics, name).mean), float(value)) for name, value in found.items()}
    beside["output_tokens"] = Beside(float(measured.outcome.produced_tokens.sum()), float(sum(len(t) for _, t in told)))
    return beside, measured


def _stamped(row: dict[str, Any]) -> tuple[float, list[float]]:
    """Returns when a request came, and when each of its tokens was sent; several in one piece have one time."""
    times = []
    for at, piece in row["pieces"]:
        for line in piece.splitlines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0].get("text"):
                times.append(at)
    return row["arrived"], times


def main() -> None:
    """Prints both sides."""
    beside, measured = compare()
    print(f"{REQUESTS} requests at {RATE}/s; prompts that the server counts otherwise: {measured.prompt_mismatches}")
    for name, pair in beside.items():
        print(f"{name:14} client {pair.client:10.5g}   server {pair.server:10.5g}   {pair.error:+.2%}")


if __name__ == "__main__":
    main()
