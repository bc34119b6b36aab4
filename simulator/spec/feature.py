"""Feature: the published figures of a system that a knob of the deployment stands for."""

from __future__ import annotations

from typing import Literal

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
