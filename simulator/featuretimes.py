"""What the systems that simulator/features.py tells of cost or save, in the times of operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulator.features import feature
from simulator.optime.operators import Floats
from simulator.optime.provenance import Origin
from simulator.optime.sources import Knots
from simulator.spec.deployment import Resolved


def overlap(deployment: Resolved) -> float:
    """Returns the share of the shorter part of a mixed step's attention that is hidden."""
    return (feature("fused_attention").overlap or 0.0) if deployment.attention_backend == "pod" else 0.0


def paged_factor(architecture: str, context: Floats) -> Floats:
    """Returns how many times longer paged prefill attention takes over so many tokens of context; 1 where nobody measured."""
    points = feature("contiguous_kv").prefill_gain.get(architecture)
    if not points:
        return np.ones_like(context)
    tokens, factors = zip(*points, strict=True)
    return np.asarray(np.interp(context, tokens, factors))


def recomputed_share(window: int) -> float:
    """Returns the output tokens that are computed again, as a share of all, with windows of so many tokens."""
    windows, shares = zip(*feature("verified_decoding").recomputed, strict=True)
    return float(np.interp(np.log2(window), np.log2(windows), shares))


def without_pages(deployment: Resolved, architecture: str, knots: Knots, prefill_s: Floats) -> Floats:
    """Returns prefill attention by chunk and KV before it, as long as it takes where KV is contiguous; unchanged if unmeasured."""
    if deployment.kv_allocator != "contiguous":
        return prefill_s
    context = knots.prefill_chunk[:, None].astype(np.float64) + knots.prefill_kv[None, :]
    return np.asarray(prefill_s / paged_factor(architecture, context))


def verified(deployment: Resolved, knots: Knots, decode_s: Floats, step_s: Floats, pass_s: Callable[[Floats], Floats]) -> Floats:
    """Returns decode_s[b, k] with what verification adds to a step of b decodes: its share of a pass, and tokens anew.

    Of b decodes `deterministic_share` are verified, each once a window, in passes of `verification_sequences`; a pass holds
    those of all that run when there are fewer. A pass takes pass_s[k] over a mean KV, whatever it holds of requests. The
    tokens that are rolled back are decoded again, in steps that take `step_s`[b, 1] beside their attention. This is the
    mean over a run: that a request's tokens come a window at a time is not in it (LLM-42, section 4).
    """
    if deployment.determinism != "verified":
        return decode_s
    assert deployment.verification_window and deployment.verification_sequences
    share = deployment.deterministic_share or 0.0
    verified_decodes = share * knots.decode_batch.astype(np.float64)
    passes = np.maximum(np.minimum(verified_decodes, 1.0), verified_decodes / deployment.verification_sequences)
    each = pass_s(np.maximum(knots.decode_kv, 1).astype(np.float64)) / deployment.verification_window
    anew = share * recomputed_share(deployment.verification_window)
    return np.asarray(decode_s * (1.0 + anew) + anew * step_s + passes[:, None] * each[None, :])


def origins(deployment: Resolved) -> dict[str, Origin]:
    """Returns where the figures of the features in use come from."""
    used = {
        "fused_attention": deployment.attention_backend == "pod",
        "contiguous_kv": deployment.kv_allocator == "contiguous",
        "verified_decoding": deployment.determinism == "verified",
    }
    return {name: Origin(source="published", kind="extrapolated") for name, on in used.items() if on}
