"""Whether the engine computes what it should on a device, found on small random models: no weights are needed.

Logits beside Hugging Face transformers, tokens whatever the schedule, whatever the way of launching, and under verification
in low precision. Each check passes, fails with one line, or is skipped with why.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch

from profiler.engine import attention, build, graphs, weights
from profiler.engine.architecture import Architecture, of_config
from profiler.engine.batch import Part, lay_out
from profiler.engine.engine import Engine
from profiler.engine.failure import is_out_of_memory
from profiler.engine.model import Model
from profiler.engine.sampling import Sampling
from profiler.engine.settings import Settings
from simulator.errors import TrimtabError

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    # Wide enough for tokens to differ from one place to the next.
    "initializer_range": 0.1,
}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3_moe": ("Qwen3Moe", {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}),
}
DENSE = Architecture(512, 128, 192, 3, 4, 2, 64, 512, qk_norm=True)
SPREAD = 0.1
# Of the largest logit. In low precision ours may be as far from 32 bits as twice what transformers' own is.
TOLERANCE, TIMES = 1e-4, 2.0
PROMPTS = (23, 9, 40, 100)
CUTS: tuple[tuple[int, ...], ...] = ((23,), (3, 1, 1, 4), (10, 1, 1, 28), (64, 36))
BLOCK = 16
REQUESTS, TOKENS = 10, 24
PLAIN: dict[str, Any] = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "max_model_len": 256, "num_gpu_blocks_override": 200}
SCHEDULES: dict[str, dict[str, Any]] = {
    "everybody at once": {"max_num_seqs": 16, "max_num_batched_tokens": 1024},
    "chunks of a prime": {"max_num_batched_tokens": 17},
    "sarathi_serve": {"scheduler": "sarathi_serve", "max_num_batched_tokens": 32},
    "two steps in flight": {"async_scheduling": True},
    "preemption": {"num_gpu_blocks_override": 24, "enable_prefix_caching": False},
}


@dataclass(frozen=True)
class Check:
    """What was checked, what came of it, and one line."""

    name: str
    state: Literal["passed", "failed", "skipped"]
    told: str


def checks(kind: str, words: str = "") -> Iterator[Check]:
    """Yields every check on the processor (`cpu`) or the GPU (`cuda`) with `words` in its name, each as soon as it is over."""
    for name, check in _all(kind):
        if words in name:
            yield _checked(name, check)


def _all(kind: str) -> Iterator[tuple[str, Callable[[], str]]]:
    for family in MORE:
        for dtype in (torch.float32, torch.bfloat16):
            name = f"logits of {family} in {str(dtype).removeprefix('torch.')} beside transformers"
            yield name, partial(_logits, family, dtype, kind)
    for name, fields in SCHEDULES.items():
        yield f"tokens under {name}", partial(_same, kind, fields)
    for name in graphs.names():
        if name != "off":
            yield f"tokens with graphs {name}", partial(_with_graphs, kind, name)
    for width in ("float32", "bfloat16"):
        yield f"determinism verified in {width}", partial(_deterministic, kind, width)


class _Skipped(Exception):
    """A check that cannot be made here, with why."""


class _Wrong(Exception):
    """A check that failed, with what was found."""


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "passed", check())
    except _Skipped as why:
        return Check(name, "skipped", str(why))
    except (_Wrong, TrimtabError) as why:
        return Check(name, "failed", str(why))
    except Exception as error:
        # One check's failure leaves the others theirs; a device without memory is one of the things that can be found.
        what = "out of memory" if is_out_of_memory(error) else type(error).__name__
        return Check(name, "failed", " ".join(f"{what}: {error}".split())[:400])


# Logits


def _logits(family: str, dtype: torch.dtype, kind: str) -> str:
    if importlib.util.find_spec("transformers") is None:
        raise _Skipped("transformers is not installed here")
    import transformers

    name, more = MORE[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **more)
    theirs = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    draw = np.random.default_rng(1)
    requests = [draw.integers(0, SIZES["vocab_size"], length).tolist() for length in PROMPTS]
    # Both sides have the weights as they are in the data type; `to` changes the module that it is asked of.
    theirs.to(dtype).to(torch.float32)
    expected = [_theirs(theirs, request, "cpu") for request in requests]
    with TemporaryDirectory() as folder:
        theirs.to(dtype).save_pretrained(folder)
        arch = of_config(theirs.config.to_dict())
        made = weights.build(arch, attention.backend("sdpa"), torch.device(kind), dtype)
        weights.load(made, Path(folder))
    error = _furthest(_ours(made, requests), expected)
    allowed = TOLERANCE
    if dtype is not torch.float32:
        theirs.to(kind)
        low = [_theirs(theirs, request, kind) for request in requests]
        allowed = TIMES * max(_error(one, right) for one, right in zip(low, expected, strict=True))
    told = f"at most {error:.2g} of the largest logit away, {allowed:.2g} allowed"
    if not error <= allowed:
        raise _Wrong(told)
    return told


def _theirs(model: Any, request: list[int], kind: str) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([request], device=kind)).logits[0].float().cpu()
    return found


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _furthest(found: list[dict[int, torch.Tensor]], expected: list[torch.Tensor]) -> float:
    pairs = [(row, expected[k][place]) for k, rows in enumerate(found) for place, row in rows.items()]
    return max(_error(row, right) for row, right in pairs)


def _ours(made: Model, requests: list[list[int]]) -> list[dict[int, torch.Tensor]]:
    """Returns our logits by request and place: prompts in chunks, side by side, their KV in blocks that are drawn."""
    pool = made.pool(64 * BLOCK)
    free = iter(np.random.default_rng(0).permutation(64).tolist())
    blocks = [np.array([next(free) for _ in range(-(-len(request) // BLOCK))]) for request in requests]
    found: list[dict[int, torch.Tensor]] = [{} for _ in requests]
    done = [0] * len(requests)
    for step in range(max(map(len, CUTS))):
        parts, who = [], []
        for k, request in enumerate(requests):
            if step < len(CUTS[k]):
                end = done[k] + CUTS[k][step]
                parts.append(Part(np.array(request[done[k] : end]), done[k], blocks[k][: -(-end // BLOCK)], k, True))
                who.append(k)
                done[k] = end
        batch = lay_out(parts, BLOCK, made.device)
        for row, part in zip(made(batch, pool).cpu(), batch.order, strict=True):
            found[who[part]][done[who[part]] - 1] = row
    return found


# Tokens


def _engine(kind: str, dtype: str = "float32", **fields: Any) -> Engine:
    settings = Settings(**{**PLAIN, "block_size": BLOCK, "device": kind, "dtype": dtype, **fields})
    one = build.with_random_weights(replace(DENSE, dtype=dtype), settings)
    generator = torch.Generator(one.runner.model.device).manual_seed(1)
    for weight in one.runner.model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0.0, SPREAD, generator=generator)
    return one


def _tokens(one: Engine, arrivals: int = 3) -> list[list[int]]:
    """Returns the tokens of each request, of which a few arrive before every step; some begin as others do, some are warm."""
    draw = np.random.default_rng(4)
    made = [draw.integers(3, 500, int(draw.integers(1, 60))).tolist() for _ in range(REQUESTS // 2)]
    made += [prompt + draw.integers(3, 500, 5).tolist() for prompt in made]
    asked = [(prompt, Sampling(TOKENS, (0.0, 1.0)[k % 2], seed=k)) for k, prompt in enumerate(made)]
    served = []
    while asked or one.driver.has_work or one.driver.in_flight:
        served += [one.add(prompt, way) for prompt, way in asked[:arrivals]]
        asked = asked[arrivals:]
        one.step()
    return [each.tokens[each.prompt_tokens :] for each in served]


def _equal(found: list[list[int]], expected: list[list[int]]) -> str:
    wrong = sum(one != other for one, other in zip(found, expected, strict=True))
    if wrong:
        raise _Wrong(f"{wrong} of {len(expected)} requests have other tokens")
    return f"{sum(map(len, expected))} tokens of {len(expected)} requests are the same"


def _same(kind: str, fields: dict[str, Any]) -> str:
    return _equal(_tokens(_engine(kind, **fields)), _tokens(_engine(kind, max_num_seqs=1)))


def _with_graphs(kind: str, name: str) -> str:
    if kind == "cpu":
        raise _Skipped("a processor has no graphs")
    return _equal(_tokens(_engine(kind, graphs=name)), _tokens(_engine(kind)))


def _deterministic(kind: str, dtype: str) -> str:
    fields: dict[str, Any] = {"determinism": "verified", "enable_prefix_caching": False}
    expected = _tokens(_engine(kind, dtype, **fields, max_num_seqs=1), 1)
    _equal(_tokens(_engine(kind, dtype, **fields, max_num_batched_tokens=17)), expected)
    return _equal(_tokens(_engine(kind, dtype, **fields), REQUESTS), expected)
