"""Feature: the published figures of a system that a knob of the deployment stands for."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from simulator.spec.base import Spec


class Feature(Spec):
    """One of three systems, each with the fields of its own; a figure's source stands beside it.

    Fused attention (POD-Attention): `overlap` is the share of the shorter of two parts that their fusion hides. Contiguous KV
    (vAttention): page groups of `page_bytes`, and by architecture how many times longer paged prefill attention takes, at
    points of (context tokens, factor). Verified decoding (LLM-42): tokens of a window, requests of a pass, and at points of
    (window, share) the output tokens that are computed again.
    """

    kind: Literal["fused_attention", "contiguous_kv", "verified_decoding"]
    overlap: float | None = Field(default=None, ge=0, le=1)
    page_bytes: list[PositiveInt] = Field(default_factory=list)
    default_page_bytes: PositiveInt | None = None
    prefill_gain: dict[str, list[list[float]]] = Field(default_factory=dict)
    window: PositiveInt | None = None
    sequences: PositiveInt | None = None
    recomputed: list[list[float]] = Field(default_factory=list)
    sources: dict[str, str]

    def prefill_factor(self, architecture: str, context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns how many times longer paged prefill attention takes over so many tokens of context; 1 where nobody measured."""
        points = self.prefill_gain.get(architecture)
        if not points:
            return np.ones_like(context)
        tokens, factors = zip(*points, strict=True)
        return np.asarray(np.interp(context, tokens, factors))

    def recomputed_share(self, window: int) -> float:
        """Returns the output tokens that are computed again, as a share of all, with windows of so many tokens."""
        windows, shares = zip(*self.recomputed, strict=True)
        return float(np.interp(np.log2(window), np.log2(windows), shares))
