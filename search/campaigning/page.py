"""The page about a campaign, in the form of those of docs/accuracy: every figure is one of the summary's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from search.campaigning.summary import AT, BELOW, RATE, value_of

# What is aimed at: the median error, and the rank correlation.
AIMS = {"ttft": 0.10, "tpot": 0.05, RATE: 0.05}
CASES = ("ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "tpot_p99_s", RATE)
OWN = "own"
ABOUT = ("gpu", "cpu", "torch", "cuda", "driver")


def page(found: Mapping[str, Any]) -> str:
    """Returns the page of a summary."""
    return "\n".join([*_head(found), *_errors(found["validations"]), *_ranks(found["validations"]), *_setting(found), ""])


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Our own engine on {found['device']}"
    yield ""
    yield (
        "The simulator, with operators and host step measured on the device itself, beside our own engine served over HTTP on the "
        "same arrivals. Nothing was fitted to these runs. Written by `trimtab campaign summary`."
    )
    yield ""
    about = (found["ceilings"] or {}).get("about", {})
    told = ", ".join(f"{name} {about[name]}" for name in ABOUT if name in about)
    days = found["days"]
    when = f"Measured {'on ' + days[0] if len(days) == 1 else f'from {days[0]} to {days[-1]}'}" if days else "Nothing was measured"
    yield f"{when}{'; ' + told if told else ''}. An error is (simulated - measured) / measured."
    unfinished = [name for name, state in found["parts"].items() if state in ("waiting", "left") and name != "summary"]
    if unfinished:
        yield ""
        yield f"Not all of the campaign has been run; left: {', '.join(unfinished)}."
    for name, reason in found["failed"].items():
        yield ""
        yield f"{name} failed: {reason}"


def _errors(found: Mapping[str, Any]) -> Iterator[str]:
    deployments = found["deployments"]
    yield from ("", "## Errors", "")
    if not deployments:
        yield "No deployment was compared."
        return
    columns = ("metric", "n", "median", "mean", "p90", "bias", "aim")
    rows = [
        (f"{metric} up to {_percent(BELOW, '.0f')} of capacity", *_figures(metric, of)) for metric, of in found["latencies"].items()
    ]
    rows += [(f"{metric} at {_percent(AT, '.0f')}", *_figures(metric, of)) for metric, of in found["rate"].items()]
    yield from _table(columns, rows)
    yield ""
    yield (
        "Capacity is the rate that saturates the simulated replica. Median, mean and p90 are of absolute errors, bias is the "
        "signed median."
    )
    yield from ("", "## Deployment by deployment", "")
    rows = [
        (deployment["name"], _percent(each["load"], ".0f"), f"{each['rate_rps']:.4g}", metric, *_case(each, metric))
        for deployment in deployments
        for each in deployment["items"]
        if not each["fault"]
        for metric in CASES
        if metric in each["errors"]
    ]
    yield from _table(("deployment", "load", "requests/s", "metric", "measured", "simulated", "error"), rows)
    for deployment in deployments:
        other = sorted(name for name, source in deployment["sources"].items() if source != OWN)
        if other:
            yield ""
            yield f"{deployment['name']}: simulated without a measurement on this device of {', '.join(other)}"
        for each in deployment["items"]:
            if each["fault"]:
                yield ""
                yield f"{deployment['name']} at {_percent(each['load'], '.0f')}: {each['fault']['kind']}, {each['fault']['reason']}"


def _figures(metric: str, of: Mapping[str, float]) -> tuple[str, ...]:
    aim = AIMS.get(metric, AIMS.get(metric.partition("_")[0], 0.0))
    return (
        f"{of['n']:.0f}",
        *(_percent(of[name]) for name in ("median", "mean", "p90")),
        _percent(of["bias"], "+.1f"),
        _percent(aim, ".0f"),
    )


def _case(each: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    return (
        *(_told(value_of(each[side], metric), metric) for side in ("measured", "simulated")),
        _percent(each["errors"][metric], "+.1f"),
    )


def _told(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    return f"{value:.4g}/s" if metric == RATE else f"{value * 1e3:.1f} ms"


def _ranks(found: Mapping[str, Any]) -> Iterator[str]:
    told = [each for each in found["agreement"] if each["regret"] is not None]
    if not told:
        return
    yield from ("", "## Do the orders agree?", "")
    rows = [
        (_percent(each["load"], ".0f"), each["metric"], str(each["deployments"]), _rank(each["spearman"]), _rank(each["kendall"]),
         _percent(each["regret"]))
        for each in told
    ]  # fmt: skip
    yield from _table(("load", "metric", "deployments", "Spearman", "Kendall", "regret"), rows)
    yield ""
    yield (
        "Regret: by how much the deployment that the simulator likes best is worse than the measured best. Aimed at: a rank "
        "correlation of 0.95."
    )


def _rank(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _setting(found: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the comparisons stand on: ceilings, profiles, host steps, checks."""
    ceilings = found["ceilings"]
    if ceilings is not None:
        yield from ("", "## Ceilings", "")
        rates = ", ".join(f"{dtype} {rate / 1e12:.4g} TFLOP/s" for dtype, rate in ceilings["flops_per_s"].items())
        yield f"Copy {ceilings['copy_bytes_per_s'] / 1e9:.4g} GB/s, read and written counted; matmul {rates}."
    if found["profiles"]:
        yield from ("", "## Profiles", "")
        files = [(each["path"], f"{each['points']:,}", "yes" if each["finished"] else "no") for each in found["profiles"]]
        yield from _table(("file", "points", "every grid fine enough"), files)
    if found["host_steps"]:
        yield from ("", "## Host step beyond operators", "")
        rows = [
            (each["model"], each["cudagraph_mode"], f"{each['steps']:,}", _span(each), f"{each['prefill_s'] * 1e3:.3f} ms",
             f"{each['mixed_s'] * 1e3:.3f} ms", f"{each['left_s'] * 1e3:.3f} ms")
            for each in found["host_steps"]
        ]  # fmt: skip
        yield from _table(("model", "graphs", "steps", "decodes", "prompts add", "mixed adds", "left unexplained"), rows)
    if found["checks"]:
        yield from ("", "## The engine on this device", "")
        yield from _table(("check", "state", "found"), [(each["name"], each["state"], each["told"]) for each in found["checks"]])


def _span(each: Mapping[str, Any]) -> str:
    counts, seconds = each["sequences"], each["sequences_s"]
    return f"{seconds[0] * 1e3:.3f} ms ({counts[0]}) to {seconds[-1] * 1e3:.3f} ms ({counts[-1]})"


def _percent(value: float, form: str = ".1f") -> str:
    return f"{100 * value:{form}} %"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
