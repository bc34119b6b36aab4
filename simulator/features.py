"""Knobs that stand for a published system: what they are when nothing is said, and what they rule out.

- `attention_backend: pod`: one kernel for a step's prefill and decode attention (POD-Attention, arXiv 2410.18038); `serial` is
  a kernel for each, one after the other, and `auto` what the engine does.
- `kv_allocator: contiguous`: KV in virtual memory that is contiguous and backed by pages (vAttention, arXiv 2405.04437).
- `determinism: verified`: decodes in any batch, confirmed by passes of one fixed shape (LLM-42, arXiv 2601.17768).
- `cudagraph_mode: SELECTIVE`: graphs only for those sizes where they pay (PyGraph, arXiv 2503.19779; optime/graphs.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.deployment import Deployment
from simulator.spec.feature import Feature
from simulator.spec.model import Model

OF_CONTIGUOUS, OF_VERIFIED = ("kv_page_bytes",), ("verification_window", "verification_sequences", "deterministic_share")
DEPENDENT = (("kv_allocator", "contiguous", OF_CONTIGUOUS), ("determinism", "verified", OF_VERIFIED))
# What LLM-42 and our engine do without.
WITHOUT: dict[str, Any] = {"enable_prefix_caching": False, "async_scheduling": False}


def feature(name: str) -> Feature:
    """Returns the published figures of a system."""
    return catalog.load("features", name, Feature, "feature")


def resolved(deployment: Deployment, knobs: dict[str, Any], model: Model, element_bytes: int, field: str) -> dict[str, Any]:
    """Returns the knobs with those of the features set; raises InputError under `field` for what cannot go together.

    `element_bytes` is what a number of KV takes.
    """
    if knobs["attention_backend"] != "auto" and model.latent_dim:
        raise InputError(
            f"{field}.attention_backend", knobs["attention_backend"], f"auto for {deployment.model}, whose attention is latent"
        )
    found: dict[str, Any] = dict.fromkeys((*OF_CONTIGUOUS, *OF_VERIFIED))
    if knobs["kv_allocator"] == "contiguous":
        found |= _contiguous(deployment, model, element_bytes, field)
    if knobs["determinism"] == "verified":
        found |= _verified(deployment, model, field)
    for knob, value, names in DEPENDENT:
        for name in names:
            given = getattr(deployment, name)
            if knobs[knob] != value and given is not None:
                raise InputError(f"{field}.{name}", given, f"nothing without {knob}: {value}")
    return found


def relevant(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns knobs without those of features that are not in use among them."""
    unused = {name for knob, value, names in DEPENDENT if knobs.get(knob) != value for name in names}
    return {name: value for name, value in knobs.items() if name not in unused}


def _contiguous(deployment: Deployment, model: Model, element_bytes: int, field: str) -> dict[str, Any]:
    """Returns the knobs of contiguous KV: a block is what one page holds of a layer's keys or values."""
    known = feature("contiguous_kv")
    if model.latent_dim or model.sliding_window:
        raise InputError(f"{field}.kv_allocator", "contiguous", f"paged for {deployment.model}, whose layers do not all keep keys")
    if deployment.enable_prefix_caching:
        raise InputError(
            f"{field}.enable_prefix_caching", True, "false with kv_allocator: contiguous, where requests share no pages"
        )
    page = deployment.kv_page_bytes or known.default_page_bytes
    if page not in known.page_bytes:
        raise InputError(f"{field}.kv_page_bytes", page, ", ".join(map(str, known.page_bytes)))
    assert page is not None
    heads = max(1, model.num_key_value_heads // deployment.tensor_parallel_size)
    tokens = page // (heads * model.head_dim * element_bytes)
    if deployment.block_size not in (None, tokens):
        raise InputError(f"{field}.block_size", deployment.block_size, f"{tokens}, the tokens of a page of {page:,} bytes")
    return {"kv_page_bytes": page, "block_size": tokens, "enable_prefix_caching": False}


def _verified(deployment: Deployment, model: Model, field: str) -> dict[str, Any]:
    """Returns the knobs of verified decoding."""
    known = feature("verified_decoding")
    for knob, value in WITHOUT.items():
        if getattr(deployment, knob) not in (None, value):
            raise InputError(f"{field}.{knob}", getattr(deployment, knob), f"{str(value).lower()} with determinism: verified")
    if deployment.pipeline_parallel_size > 1:
        raise InputError(f"{field}.pipeline_parallel_size", deployment.pipeline_parallel_size, "1 with determinism: verified")
    if model.num_local_experts:
        raise InputError(f"{field}.determinism", "verified", f"none for {deployment.model}, which has experts")
    window = deployment.verification_window or known.window
    least, most = int(known.recomputed[0][0]), int(known.recomputed[-1][0])
    if window is None or not least <= window <= most:
        raise InputError(f"{field}.verification_window", window, f"{least} to {most} tokens, where recomputation was measured")
    share = 1.0 if deployment.deterministic_share is None else deployment.deterministic_share
    sequences = deployment.verification_sequences or known.sequences
    return {**WITHOUT, "verification_window": window, "verification_sequences": sequences, "deterministic_share": share}


def check_slo(determinism: Iterable[object], slo: Iterable[str], field: str = "slo") -> None:
    """Raises InputError for a bound on gaps between tokens where tokens are verified: that they come in bursts is not simulated."""
    if "verified" not in determinism:
        return
    for term in slo:
        if term.rpartition(".")[2].startswith("itl"):
            raise InputError(
                f"{field}.{term}", "given", "ttft, tpot and e2e terms with determinism: verified, whose bursts are not simulated"
            )
