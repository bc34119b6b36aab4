"""POD-Attention, vAttention, LLM-42 and PyGraph as knobs of a deployment, beside what their papers print.

`python -m tests.benchmarks.systems` writes docs/accuracy/systems.md. Throughputs are of a saturated replica.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.draw import draw
from simulator.resolve import resolve
from simulator.run import prepare, saturated_rate
from simulator.spec.deployment import Deployment
from simulator.spec.workload import Workload

PAGE = Path(__file__).parents[2] / "docs" / "accuracy" / "systems.md"
MODEL = "meta-llama/Llama-3.1-8B"
OFF = {"enable_prefix_caching": False, "async_scheduling": False}
# LLM-42 (arXiv 2601.17768) and its artifact, Llama-3.1-8B on an H100: throughput over that without determinism, by share verified.
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
VERIFIED = {
    (1024, 256): (0.99, 0.98, 0.97, 0.93, 0.84, 0.74),
    (1024, 1024): (0.93, 0.93, 0.91, 0.87, 0.80, 0.70),
    (4096, 1024): (0.95, 0.93, 0.94, 0.94, 0.90, 0.85),
    (4096, 4096): (0.98, 0.97, 0.97, 0.92, 0.94, 0.90),
}
# The same on Llama-3.3-70B, eight H100.
VERIFIED_70B = {
    (1024, 256): (0.98, 0.96, 0.92, 0.86, 0.71, 0.55),
    (1024, 1024): (0.96, 0.93, 0.88, 0.77, 0.62, 0.47),
    (4096, 1024): (0.92, 0.92, 0.90, 0.86, 0.77, 0.66),
    (4096, 4096): (0.86, 0.86, 0.86, 0.81, 0.71, 0.61),
}


def rate(prompt: int, output: int, count: int, **knobs: Any) -> float:
    """Returns the requests a second of one saturated replica, all of one length."""
    workload = {"prompt_tokens": {"fixed": prompt}, "output_tokens": {"fixed": output}, "num_requests": count}
    traffic = draw(Workload.parse(workload), None, 0)
    return saturated_rate(prepare(resolve(Deployment.parse({"model": MODEL, **knobs}))), traffic)


def verified(paper: Mapping[tuple[int, int], Sequence[float]], **knobs: Any) -> Iterator[str]:
    """Yields the rows of verified decoding: ours and the paper's by share, and how far apart they are in the mean."""
    yield "| prompt / output | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | mean distance |"
    yield "|---|" + "---:|" * (len(SHARES) + 1)
    distances = []
    for (prompt, output), printed in paper.items():
        base = {"max_model_len": prompt + output, **knobs}
        plain = rate(prompt, output, 1000, **OFF, **base)
        ours = [rate(prompt, output, 1000, determinism="verified", deterministic_share=each, **base) / plain for each in SHARES]
        apart = [abs(a - b) for a, b in zip(ours, printed, strict=True)]
        distances += apart
        cells = " | ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(ours, printed, strict=True))
        yield f"| {prompt:,} / {output:,} | {cells} | {sum(apart) / len(apart):.3f} |"
    yield ""
    yield f"Mean distance over all: {sum(distances) / len(distances):.3f}; the largest: {max(distances):.2f}."


def fused() -> Iterator[str]:
    """Yields the rows of fused attention: gains in throughput over one kernel after the other, at 16K-token prompts."""
    yield "| Llama-3-8B, TP2, A100, chunk 1,024, 16K prompts, 1K outputs | paper | here |"
    yield "|---|---:|---:|"
    knobs = {"device": "A100-80G-SXM", "tensor_parallel_size": 2, "max_model_len": 20480, "scheduler": "sarathi_serve"}
    knobs |= {"max_num_batched_tokens": 1024, "enable_prefix_caching": False}
    rates = {name: rate(16384, 1024, 300, attention_backend=name, **knobs) for name in ("serial", "pod", "auto")}
    yield f"| `pod` over `serial` | +19 % | {rates['pod'] / rates['serial'] - 1:+.0%} |"
    yield f"| `pod` over `auto` (one kernel for all, FlashAttention 2) | | {rates['pod'] / rates['auto'] - 1:+.0%} |"
    for chunk in (512, 2048):
        mine = {**knobs, "max_num_batched_tokens": chunk}
        gain = rate(16384, 1024, 300, attention_backend="pod", **mine) / rate(16384, 1024, 300, attention_backend="serial", **mine)
        yield f"| `pod` over `serial`, chunk {chunk:,} | | {gain - 1:+.0%} |"


def contiguous() -> Iterator[str]:
    """Yields the rows of contiguous KV: throughput over paged KV by length of prompts, and requests that fit by page."""
    yield "| Llama-3-8B, TP2, A100 | paper | here |"
    yield "|---|---:|---:|"
    knobs = {"device": "A100-80G-SXM", "tensor_parallel_size": 2, "model": "meta-llama/Llama-3.1-8B", "scheduler": "vllm_v0"}
    knobs |= {"enable_prefix_caching": False, "max_model_len": 131072, "max_num_batched_tokens": 131072, "max_num_seqs": 64}
    for prompt, printed in (
        (30000, "online, 22K to 45K: median latency -28 %"),
        (87000, "offline, 64K to 192K: 1.15x of FA2 paged"),
    ):
        paged = rate(prompt, 400, 60, **knobs)
        ratio = rate(prompt, 400, 60, kv_allocator="contiguous", **knobs) / paged
        yield f"| throughput over paged, prompts of {prompt:,} | {printed} | {ratio:.2f}x |"
    held = [
        prepare(resolve(Deployment.parse({**knobs, "kv_allocator": "contiguous", "kv_page_bytes": page}))).memory
        for page in (65536, 2097152)
    ]
    longest = 2550
    fit = [memory.usable_blocks // -(-longest // size) for memory, size in zip(held, (64, 2048), strict=True)]
    what = f"requests of {longest:,} tokens that fit, pages of 64 KB and of 2 MB (the paper: of 2,100 to 3,000)"
    yield f"| {what} | 258 and 203 | {fit[0]} and {fit[1]} |"


def graphs() -> Iterator[str]:
    """Yields the rows of selective graphs: decodes of a few requests, and of as many as lie between two captured sizes."""
    modes = ("FULL_AND_PIECEWISE", "SELECTIVE", "FULL_DECODE_ONLY", "PIECEWISE", "NONE")
    yield "| Llama-3.1-8B, H100, decodes of | " + " | ".join(f"`{mode}`" for mode in modes) + " |"
    yield "|---|" + "---:|" * len(modes)
    for batch in (4, 300):
        knobs = {"device": "H100-SXM", "max_model_len": 4096, "max_num_seqs": batch, "enable_prefix_caching": False}
        rates = [rate(64, 512, 5 * batch, cudagraph_mode=mode, **knobs) for mode in modes]
        yield f"| {batch} requests | " + " | ".join(f"{each / rates[0]:.3f}" for each in rates) + " |"


TEXT = """# Beside POD-Attention, vAttention, LLM-42 and PyGraph

Their mechanisms as [knobs of a deployment](../schedulers.md#published-systems-as-knobs), beside what the papers print.
`python -m tests.benchmarks.systems` writes this page: saturated replicas, operator times measured on these GPUs under
vLLM (aiconfigurator), nothing fitted to a printed throughput. What was taken from the papers lies in
`simulator/data/features/`, with its source.

## LLM-42: `determinism: verified`

Throughput by the share of requests that are verified, over the same without: here (paper), windows of 32, 16 requests
a pass. Llama-3.1-8B on an H100:

{verified}

Llama-3.3-70B (here Llama-3.1-70B, of the same shapes) on eight H100:

{verified_70b}

A pass takes what the kernels take for its 512 tokens; the tokens decoded again are the paper's of the smaller model.
Likely causes of the distance, which is nearly all one way: prompts of verified requests share steps with others here,
and run alone there; the last, partly filled windows of requests are not counted; on eight GPUs a pass of the paper takes
29 ms, which is more than the kernels and exchanges that are priced here.

## POD-Attention: `attention_backend: pod`

{fused}

The overlap, 0.44, is the least that the paper's mean of 1.28x means; at its best (1.59x) it is 0.74. How much of a step
is attention depends on how many decodes the memory holds beside the chunk. What `auto` loses is by our roofline of
FlashAttention 2's kernel for batches of all lengths, which reads a decode's KV once for every query head.

## vAttention: `kv_allocator: contiguous`

{contiguous}

The gain of unpaged prefill kernels is counted only on Ampere and only by the one figure that was printed at a known
context (192K tokens), linear from none. Prefix caching is off on both sides.

## PyGraph: `cudagraph_mode: SELECTIVE`

Throughput over `FULL_AND_PIECEWISE`:

{graphs}

The paper has no serving engine to compare with. Graphs cost padding here, not copies of parameters; a size goes without
where the GPU's own work hides the launches.
"""


def main() -> int:
    """Writes the page."""
    eight = {"device": "H100-SXM", "tensor_parallel_size": 8, "model": "meta-llama/Llama-3.1-70B"}
    parts = {
        "verified": verified(VERIFIED, device="H100-SXM"),
        "verified_70b": verified(VERIFIED_70B, **eight),
        "fused": fused(),
        "contiguous": contiguous(),
        "graphs": graphs(),
    }
    PAGE.write_text(TEXT.format(**{name: "\n".join(rows) for name, rows in parts.items()}), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
