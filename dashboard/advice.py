"""What holds a deployment back and what might help, in words, each with the rule by which stored Metrics say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.words import number, seconds, spoken

FULL = 0.95
IDLE = 0.85
HALF = 0.5
STALL = 2.0
# These run a prompt in an iteration of its own or whole, so that decodes wait for it.
WHOLE_PROMPTS = ("vllm_v0", "orca", "faster_transformer", "lightllm", "sglang")


@dataclass(frozen=True)
class Advice:
    """A bottleneck in a word, what might help, and the rule with the figures that it was read from."""

    case: str
    text: str
    rule: str


def advice_of(
    deployment: Mapping[str, Any], metrics: Mapping[str, Any] | None, binding: str | None, slo: Mapping[str, Any]
) -> list[Advice]:
    """Returns what holds a deployment back at its capacity, most telling first; empty without Metrics or a bound that binds."""
    if not metrics or not binding:
        return []
    kind = binding.rsplit(".", 1)[-1].split("_")[0]
    found = [*_bubbles(deployment, metrics)]
    if kind in ("ttft", "e2e", "backlog"):
        found += [*_seats(deployment, metrics), *_memory(metrics), *_prefill(deployment, metrics)]
    if kind in ("itl", "tpot", "e2e"):
        found += [*_scheduler(deployment, metrics), *_chunk(deployment, metrics)]
        found += [*_model(deployment, metrics, binding, slo), *_memory(metrics)]
    told = list({each.case: each for each in found}.values())
    return told or [_throughput(metrics, binding)]


def _statistic(metrics: Mapping[str, Any], name: str, statistic: str) -> float:
    return float((metrics.get(name) or {}).get(statistic) or 0.0)


def _bubbles(deployment: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Advice]:
    busy = metrics.get("busy_share")
    if deployment.get("pipeline_parallel_size", 1) > 1 and busy is not None and busy < IDLE:
        yield Advice(
            "pipeline bubbles",
            "Stages wait for each other: fewer stages, or tensor parallelism in their place.",
            f"stages are busy {busy:.0%} of the time, less than {IDLE:.0%}",
        )


def _seats(deployment: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Advice]:
    most, seats = _statistic(metrics, "batch_size", "p99"), deployment.get("max_num_seqs")
    if seats and most >= FULL * seats:
        yield Advice(
            "batch cap",
            "Requests wait for a seat: a larger max_num_seqs.",
            f"the p99 of the batch, {number(most)}, is {FULL:.0%} or more of max_num_seqs, {seats:,}",
        )


def _memory(metrics: Mapping[str, Any]) -> Iterator[Advice]:
    peak, preempted = metrics.get("kv_utilization_peak"), metrics.get("preemptions") or 0
    if preempted or (peak is not None and peak >= FULL):
        told = f"{preempted:,} preemptions" if preempted else f"the fullest engine held {peak:.0%} of its KV blocks"
        yield Advice("memory", "The KV cache is full: more memory a GPU, more GPUs a replica, or a smaller KV data type.", told)


def _prefill(deployment: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Advice]:
    tokens, budget = _statistic(metrics, "batch_tokens", "p90"), deployment.get("max_num_batched_tokens")
    if budget and tokens >= FULL * budget:
        yield Advice(
            "prefill throughput",
            "Prompts fill the token budget: a larger max_num_batched_tokens, or faster prefill by more tensor parallelism.",
            f"the p90 of an iteration's tokens, {number(tokens)}, is {FULL:.0%} or more of max_num_batched_tokens, {budget:,}",
        )


def _scheduler(deployment: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Advice]:
    middle, late = _statistic(metrics, "itl_s", "p50"), _statistic(metrics, "itl_s", "p99")
    if deployment.get("scheduler") in WHOLE_PROMPTS and late > STALL * middle > 0:
        yield Advice(
            "scheduler",
            "Decodes wait for whole prompts: a scheduler that mixes chunks of prompts with decodes (vllm_v1, sarathi_serve).",
            f"{deployment['scheduler']} runs prompts apart from decodes, and ITL p99, {seconds(late)}, is over {STALL:g} x its p50",
        )


def _chunk(deployment: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Advice]:
    middle, late = _statistic(metrics, "itl_s", "p50"), _statistic(metrics, "itl_s", "p99")
    tokens, budget = _statistic(metrics, "batch_tokens", "p99"), deployment.get("max_num_batched_tokens") or 0
    if late > STALL * middle > 0 and budget and tokens >= HALF * budget and deployment.get("scheduler") not in WHOLE_PROMPTS:
        yield Advice(
            "chunk",
            "Iterations with a chunk of a prompt are long: a smaller max_num_batched_tokens.",
            f"ITL p99, {seconds(late)}, is over {STALL:g} times its p50, {seconds(middle)}, and iterations carry up to "
            f"{number(tokens)} of {budget:,} tokens",
        )


def _model(deployment: Mapping[str, Any], metrics: Mapping[str, Any], binding: str, slo: Mapping[str, Any]) -> Iterator[Advice]:
    middle, limit = _statistic(metrics, "itl_s", "p50"), slo.get(binding)
    if limit and middle >= HALF * limit:
        yield Advice(
            "model latency",
            "The model itself is slow here: more tensor parallelism, a faster GPU, or smaller weights.",
            f"ITL p50, {seconds(middle)}, is {HALF:.0%} or more of the limit on {spoken(binding)}, {seconds(limit)}",
        )


def _throughput(metrics: Mapping[str, Any], binding: str) -> Advice:
    busy, mfu = metrics.get("busy_share"), metrics.get("mfu")
    told = [f"busy {busy:.0%} of the time"] if busy is not None else []
    told += [f"MFU {mfu:.0%}"] if mfu is not None else []
    return Advice(
        "throughput",
        "No one knob stands out: the GPUs serve what they can at this load; more replicas serve more.",
        f"{spoken(binding)} ends it, and no other rule fits" + (f"; {', '.join(told)}" if told else ""),
    )
