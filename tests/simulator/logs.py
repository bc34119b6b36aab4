"""Runs whose steps are known: one of two engines written out by hand, and small simulated ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import outcome as outcomes
from simulator.kernel.engine import prices_of
from simulator.kernel.journal import ADMITTED, FINISHED, PREEMPTED, SCHEDULED
from simulator.outcome import Outcome
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.traffic import Traffic

DEPLOYMENT = {"model": "meta-llama/Llama-3.1-8B", "engine": "vllm-0.19", "device": "H200-SXM", "max_model_len": 512}
LINEAR = ({"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9},)
# engine, step, lane, sched_s, start_s, end_s, tokens, kv_tokens, scheduled, running, waiting, free
STEPS = [
    (0, 0, 0, 0.0, 0.0, 0.1, 6, 6, 1, 1, 0, 9),
    (0, 1, 0, 0.0, 0.1, 0.2, 5, 11, 2, 2, 0, 7),
    (1, 0, 0, 0.05, 0.05, 0.3, 3, 3, 1, 1, 0, 9),
    (0, 2, 0, 0.1, 0.2, 0.3, 1, 8, 1, 1, 1, 8),
    (0, 3, 0, 0.2, 0.3, 0.3, 0, 0, 0, 0, 2, 10),
    (0, 4, 0, 0.3, 0.3, 0.4, 9, 9, 1, 1, 1, 8),
    (0, 5, 0, 0.4, 0.4, 0.5, 4, 4, 1, 1, 0, 9),
]
# In the order of time, in which request 0 makes its second token after step 3 (the zero-based 2) was decided.
ENTRIES = [
    *((ADMITTED, 0, 0, 0), (SCHEDULED, 0, 0, 6)),
    *((ADMITTED, 1, 1, 2), (SCHEDULED, 1, 0, 1), (SCHEDULED, 1, 1, 4)),
    *((ADMITTED, 2, 2, 0), (SCHEDULED, 2, 2, 3)),
    *((PREEMPTED, 3, 1, 0), (SCHEDULED, 3, 0, 1)),
    (PREEMPTED, 4, 0, 0),
    (FINISHED, 2, 2, 0),
    *((ADMITTED, 5, 0, 0), (SCHEDULED, 5, 0, 9)),
    (FINISHED, 5, 0, 0),
    *((ADMITTED, 6, 1, 3), (SCHEDULED, 6, 1, 4)),
    (FINISHED, 6, 1, 0),
]
NAMES = np.array([10, 11, 14, 15])


def log() -> Any:
    """Returns the steps and what happened in them, as a run records them."""
    steps = np.array(STEPS, dtype=outcomes.STEPS)
    ran = np.flatnonzero(steps["scheduled"])
    passes = np.array([(k, 0, steps["start_s"][k], steps["end_s"][k]) for k in ran], dtype=outcomes.PASSES)
    return SimpleNamespace(steps=steps, entries=np.array(ENTRIES, dtype=outcomes.ENTRIES), passes=passes)


def outcome() -> Any:
    """Returns what the same run leaves of its four requests, of which the last was rejected."""
    nan = np.nan
    return SimpleNamespace(
        steps=log(),
        row=NAMES,
        arrived_at=np.array([0.0, 0.0, 0.05, 0.06]),
        prompt_tokens=np.array([6, 6, 3, 99]),
        output_tokens=np.array([4, 2, 1, 1]),
        first_token_at=np.array([0.1, 0.2, 0.3, nan]),
        finished_at=np.array([0.4, 0.5, 0.3, nan]),
        preemptions=np.array([1, 1, 0, 0]),
        replica=np.array([0, 0, 1, -1]),
        rejected=np.array([False, False, False, True]),
        replicas=2,
        class_of=np.zeros(4, dtype=np.int64),
        class_names=("all",),
    )


def traffic(cancel_after_s: NDArray[np.float64] | None = None) -> Any:
    """Returns the requests of that run, none of which is cancelled by default."""
    return SimpleNamespace(cancel_after_s=np.full(4, np.inf) if cancel_after_s is None else cancel_after_s)


def simulated(stages: int = 1, **knobs: Any) -> tuple[Outcome, Traffic]:
    """Returns a recorded run of forty requests on the deployment with these knobs, in equal stages, and its requests."""
    rng = np.random.default_rng(1)
    requests = Traffic(
        arrival_s=np.cumsum(rng.exponential(0.01, 40)),
        prompt_tokens=rng.integers(1, 300, 40),
        output_tokens=rng.integers(1, 60, 40),
        priority=np.zeros(40, dtype=np.int64),
        rate_rps=100.0,
        row=np.arange(40) * 2 + 1,
    )
    prepared = prepare(resolve(Deployment.parse({**DEPLOYMENT, **knobs})), LINEAR)
    return simulate(staged(prepared, stages) if stages > 1 else prepared, requests, record_steps=True), requests


def staged(prepared: Prepared, stages: int) -> Prepared:
    """Returns the deployment with its layers in so many stages, between which nothing has to be sent."""
    limits = replace(prepared.limits, pipeline_stages=stages, asynchronous=False)
    tokens = prepared.price_list.token_s.shape[1]
    prices = replace(prepared.price_list, stage_share=np.full(stages, 1 / stages), stage_token_s=np.zeros((stages, tokens)))
    return replace(prepared, limits=limits, price_list=prices, prices=prices_of(prices, limits))
