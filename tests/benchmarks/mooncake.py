"""Prefix-cache hits of Mooncake's traces at several capacities: `python -m tests.benchmarks.mooncake`, about a minute.

One engine serves the requests one by one in the order of the trace, fast enough that none waits, so that what it finds
depends on the capacity alone. PUBLISHED are the shares of prompt tokens that one LRU cache over the hashes of the prompts
alone has, the part-filled last block included; the engine keeps outputs too, and full blocks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from simulator.draw import draw
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.spec.workload import Workload
from simulator.traffic import Traffic
from tests.shared import data_dir

BLOCK_TOKENS = 512
UNLIMITED = 10**9
CAPACITIES = {"1M": 10**6, "3M": 3 * 10**6, "10M": 10**7, "30M": 3 * 10**7, "unlimited": UNLIMITED}
PUBLISHED = {
    "conversation": {"1M": 0.054, "3M": 0.138, "10M": 0.291, "30M": 0.366, "unlimited": 0.374},
    "synthetic": {"1M": 0.142, "3M": 0.315, "10M": 0.577, "30M": 0.651, "unlimited": 0.651},
}
KNOBS = {"max_num_seqs": 1, "max_num_batched_tokens": 8192, "async_scheduling": False}
LONGEST = 262_144


def server() -> Prepared:
    """Returns one engine that takes a microsecond a step."""
    chosen = {"model": "meta-llama/Llama-3.1-8B", "device": "H200-SXM", "block_size": BLOCK_TOKENS, **KNOBS}
    linear = {"source": "linear", "base_s": 1e-6, "per_token_s": 0.0, "per_kv_token_s": 0.0}
    resolved = resolve(Deployment.parse({**chosen, "enable_prefix_caching": True}))
    # The longest prompts of the traces are longer than what the model was trained for.
    return prepare(resolved.model_copy(update={"max_model_len": LONGEST}), [linear])


def hit_ratio(prepared: Prepared, traffic: Traffic, tokens: int) -> float:
    """Returns the share of the prompt tokens that the engine finds in a KV pool of so many tokens."""
    # A pool that held the trace's own blocks and no more would do as well as an endless one, and none is larger than it.
    most = int((traffic.prompt_tokens + traffic.output_tokens).sum()) // BLOCK_TOKENS + len(traffic)
    limits = replace(prepared.limits, kv_blocks=min(tokens // BLOCK_TOKENS, most))
    outcome = simulate(replace(prepared, limits=limits), traffic)
    assert not outcome.rejected.any(), "every request fits"
    return float(outcome.cached_tokens.sum() / traffic.prompt_tokens.sum())


def trace_of(name: str, folder: Path) -> Traffic:
    """Returns the requests of one of the traces."""
    return draw(Workload(trace=str(folder / f"mooncake_{name}.jsonl.gz")), None, 0)


def rows() -> Iterator[tuple[str, str, float, float]]:
    """Yields trace, capacity, the simulated hit ratio and the published one."""
    prepared, folder = server(), data_dir("traces")
    for name, published in PUBLISHED.items():
        traffic = trace_of(name, folder)
        for capacity, expected in published.items():
            yield name, capacity, hit_ratio(prepared, traffic, CAPACITIES[capacity]), expected


def main() -> None:
    """Prints the hit ratios beside the published ones."""
    print(f"{'trace':<14}{'tokens':>10}{'simulated':>10}{'published':>11}{'points':>9}")
    for name, capacity, simulated, published in rows():
        print(f"{name:<14}{capacity:>10}{simulated:>10.1%}{published:>11.1%}{100 * (simulated - published):>+9.1f}", flush=True)


if __name__ == "__main__":
    main()
