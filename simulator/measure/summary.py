"""All numbers of a run."""

from __future__ import annotations

from typing import Any

from simulator.measure import usage
from simulator.measure.latencies import OF_FINISHED, Flags, Gaps, Latencies
from simulator.measure.ranks import counted
from simulator.measure.usage import over
from simulator.measure.verdict import Verdict, good_requests, of_class
from simulator.outcome import Outcome
from simulator.run import Prepared
from simulator.spec.metrics import ClassMetrics, Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo

CLASS_LATENCIES = ("ttft_s", "tpot_s", "itl_max_s", "e2e_s", "queue_s")


def metrics(outcome: Outcome, prepared: Prepared | None, slo: Slo | None = None, bill: Bill | None = None) -> Metrics:
    """Returns the numbers of a run, with dollars when there is a bill and the Slo's verdict when there is one.

    Without a prepared deployment, as of a run that a client measured, the use of GPUs is None and their number 0.
    """
    found, gaps = Latencies(outcome), Gaps(outcome)
    served = found.finished
    count = int(served.sum())
    finished_at, begin_s = outcome.finished_at[served], float(outcome.arrived_at.min())
    duration = float(finished_at.max()) - begin_s if count else 0.0
    # Every token that was seen, those of requests that were dropped later among them.
    output = int(outcome.produced_tokens.sum())
    prompt = int(outcome.prompt_tokens[served].sum())
    usd = bill.usd_per_hour if bill else None
    told: dict[str, Any] = {name: found.distribution(name) for name in ("ttft_s", *OF_FINISHED)}
    told |= _use(outcome, prepared, duration) if prepared else {"mfu": None, "gpus": 0}
    return Metrics(
        **told,
        itl_s=gaps.distribution(),
        requests=len(outcome.arrived_at),
        rejected=int(outcome.rejected.sum()),
        cancelled=int(outcome.cancelled.sum()),
        expired=int(outcome.expired.sum()),
        single_token_requests=count - int(found.several.sum()),
        restarted_requests=int((outcome.preemptions > 0).sum()),
        duration_s=duration,
        request_throughput_rps=over(count, duration),
        output_token_throughput_tps=over(output, duration),
        total_token_throughput_tps=over(output + prompt, duration),
        goodput_rps=over(good_requests(outcome, slo), duration) if slo else None,
        slo_met=Verdict(outcome, slo, found).met() if slo else None,
        iterations=outcome.iterations,
        mean_batch_size=over(outcome.scheduled_requests, outcome.iterations),
        batch_size=counted(outcome.batch_sizes[1:], first=1),
        batch_tokens=counted(outcome.batch_tokens[1:], first=1),
        preemptions=int(outcome.preemptions.sum()),
        cached_token_share=over(int(outcome.cached_tokens.sum()), int(outcome.prompt_tokens[~outcome.rejected].sum())),
        kv_blocks=outcome.kv_blocks,
        kv_utilization=over(outcome.block_seconds, outcome.busy_s * outcome.kv_blocks),
        kv_utilization_peak=over(outcome.kv_peak_blocks, outcome.kv_blocks),
        completions=usage.completions(finished_at, begin_s, duration),
        classes=_classes(outcome, slo, duration),
        usd_per_hour=usd,
        usd_per_million_output_tokens=_per_million(usd, output, duration),
        usd_per_million_tokens=_per_million(usd, output + prompt, duration),
    )


def _use(outcome: Outcome, prepared: Prepared, duration_s: float) -> dict[str, Any]:
    """Returns how the GPUs of the fleet were used."""
    return {
        "busy_share": over(float(outcome.stage_busy_s.mean()), duration_s * usage.engines(outcome, prepared)),
        "mfu": usage.mfu(outcome, prepared, duration_s),
        "bandwidth_utilization": usage.bandwidth_utilization(outcome, prepared, duration_s),
        "stages": usage.stages(outcome, prepared, duration_s),
        "gpus": prepared.deployment.gpus_per_replica * outcome.replicas,
    }


def _classes(outcome: Outcome, slo: Slo | None, duration_s: float) -> dict[str, ClassMetrics] | None:
    """Returns what each class saw; None where there is one alone."""
    if len(outcome.class_names) < 2:
        return None
    verdict = Verdict(outcome, slo) if slo else None
    return {name: _class(outcome, name, of_class(outcome, name), slo, verdict, duration_s) for name in outcome.class_names}


def _class(
    outcome: Outcome, name: str, members: Flags, slo: Slo | None, verdict: Verdict | None, duration_s: float
) -> ClassMetrics:
    found = Latencies(outcome, members)
    return ClassMetrics(
        **{latency: found.distribution(latency) for latency in CLASS_LATENCIES},
        requests=int(members.sum()),
        rejected=int((outcome.rejected & members).sum()),
        cancelled=int((outcome.cancelled & members).sum()),
        expired=int((outcome.expired & members).sum()),
        goodput_rps=over(good_requests(outcome, slo, name), duration_s) if slo else None,
        slo_met=verdict.met(name) if verdict else None,
    )


def _per_million(usd_per_hour: float | None, tokens: int, duration_s: float) -> float | None:
    if usd_per_hour is None or tokens == 0:
        return None
    return usd_per_hour / 3600 * duration_s / tokens * 1e6
