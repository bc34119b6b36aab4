"""A process that forks workers which may be killed: it has loaded and compiled what they need, so that each begins at once.

It reads a worker's options as JSON line by line, and answers with its process id.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db import record
from db.rows import JobRow, TrialResult
from db.session import Store, open_store
from search import driver, service, worker
from search.driver import Stopped
from search.executor.auto import Pool
from search.fidelity import Fidelity
from search.patience import Patience
from search.request import SearchRequest
from search.running import Ended
from search.trial import Scored, Task

LEVELS = {
    "SCREEN": Fidelity(requests=100, seeds=1, tolerance=0.02, spread=0.2, latency_spread=0.5),
    "RESCORE": Fidelity(requests=150, seeds=1, tolerance=0.02, spread=0.1, latency_spread=0.2),
    "FINAL": Fidelity(requests=200, seeds=2, tolerance=0.02, spread=0.1, latency_spread=0.2),
}
# Twelve trials, about two seconds; and two trials, half a second.
SMALL: dict[str, Any] = {
    "name": "small",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {
        "device": ["H100-SXM", "L40S"],
        "max_num_batched_tokens": [512, 1024, 2048],
        "max_num_seqs": [64, 128],
        "max_model_len": 16384,
    },
    "budget": {"max_gpus": 8, "trials": 12},
}
TINY = SMALL | {
    "name": "tiny",
    "space": {"device": ["H100-SXM"], "max_num_batched_tokens": [512, 1024], "max_model_len": 16384},
}


def shorten() -> None:
    """Lets studies of this process run few requests."""
    for name, fidelity in LEVELS.items():
        setattr(driver, name, fidelity)


def note(path: str, line: str) -> None:
    """Adds a line to a file that processes share, whole or not at all."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def counted(path: str, pause_s: float) -> Callable[[Task], Scored]:
    """Returns the evaluation of a trial that notes each one which it begins."""
    evaluate: Callable[[Task], Scored] = driver.evaluate  # type: ignore[attr-defined]

    def run(task: Task) -> Scored:
        note(path, f"{task.key}|{task.fidelity.requests}|{task.seed}")
        time.sleep(pause_s)
        return evaluate(task)

    return run


def trivial(path: str) -> worker.Runner:
    """Returns a runner that notes the study and stores one trial."""

    def run(store: Store, job: JobRow, report: worker.Report, stop: Callable[[], bool], patience: Patience) -> Ended:
        note(path, job.study_id)
        result = TrialResult(key=f"run {job.claims}", state="done", deployment={}, kernel_digest="k0", seed=0)
        patience(record.upsert_trial, store, job.study_id, result)
        if stop():
            raise Stopped
        return Ended("done", {})

    return run


def work(db: str, path: str, kind: str = "search", executor: str = "inline", pause_s: float = 0.0, **given: Any) -> None:
    """Works until told to stop or, with `until_empty`, until no job is left; notes in the file at `path` what it runs."""
    lock_timeout_s = given.pop("lock_timeout_s", 30.0)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    shorten()
    settings = worker.Settings(db=db, executor=executor, **given)
    if executor != "ray":
        driver.evaluate = counted(path, pause_s)  # type: ignore[attr-defined, assignment]
    with open_store(db, lock_timeout_s) as store, Pool(executor) as pool:
        runner = trivial(path) if kind == "trivial" else worker.searching(pool)
        worker.Worker(store, runner, settings, stopping).run()


def warm() -> None:
    """Compiles and loads what a study needs."""
    shorten()
    with tempfile.TemporaryDirectory() as folder:
        service.run_search(SearchRequest.parse(SMALL), db=str(Path(folder) / "warm.db"), executor="inline")


def _born(options: dict[str, Any]) -> None:
    status = 1
    try:
        logging.basicConfig(filename=options.pop("log"), level=logging.INFO, force=True)
        work(**options)
        status = 0
    except BaseException:
        logging.getLogger("trimtab").error(traceback.format_exc())
    finally:
        logging.shutdown()
        os._exit(status)


if __name__ == "__main__":
    # The children are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    warm()
    print("warm", flush=True)
    for line in sys.stdin:
        options = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _born(options)
        print(pid, flush=True)
