"""Linear: a whole iteration as base + per token scheduled + per token of KV after it; for tests of scheduling alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeFloat

from simulator.optime.operators import Floats, Ints
from simulator.optime.provenance import Origin
from simulator.optime.sources import AttentionRules, Context, Knots
from simulator.spec.base import Spec

DEFAULT_RANK = None
KV_STEP = 64


class Settings(Spec):
    """The three prices, in seconds."""

    source: Literal["linear"] = "linear"
    base_s: NonNegativeFloat = Field(default=0.0)
    per_token_s: NonNegativeFloat = Field(default=0.0)
    per_kv_token_s: NonNegativeFloat = Field(default=0.0)


@dataclass(frozen=True, eq=False)
class Linear:
    """An IterationSource that bilinear interpolation gives back exactly, since each part is bilinear."""

    settings: Settings

    def origins(self, name: str) -> dict[str, Origin]:
        """Returns that the prices are exactly those given, as if measured."""
        return {"iteration": Origin(source=name, kind="measured")}

    def rules(self) -> AttentionRules:
        """Returns plain interpolation."""
        return AttentionRules()

    def most_tokens(self) -> int | None:
        """Returns None: every step has a price."""
        return None

    def knots(self, context: Context) -> Knots:
        """Returns the corners, which suffice."""
        deployment = context.deployment
        last_kv = -(-deployment.max_model_len // KV_STEP) * KV_STEP
        return Knots(
            decode_batch=np.array([1, max(2, deployment.max_num_seqs)]),
            decode_kv=np.array([0, last_kv]),
            prefill_chunk=np.array([1, max(2, deployment.max_num_batched_tokens)]),
            prefill_kv=np.array([0, last_kv]),
        )

    def token_seconds(self, tokens: Ints) -> Floats:
        """Returns base + per token scheduled, the same for every kind of iteration."""
        seconds: Floats = np.tile(self.settings.base_s + self.settings.per_token_s * tokens, (3, 1))
        return seconds

    def sample_seconds(self, sampled: Ints) -> Floats:
        """Returns zeros."""
        return np.zeros(sampled.shape)

    def decode_seconds(self, batch: Ints, kv: Ints) -> Floats:
        """Returns the price of the decodes' KV."""
        return self.settings.per_kv_token_s * (batch[:, None] * kv[None, :]).astype(np.float64)

    def prefill_seconds(self, chunk: Ints, kv: Ints) -> Floats:
        """Returns the price of a chunk's KV, the chunk itself counted."""
        return self.settings.per_kv_token_s * (chunk[:, None] + kv[None, :]).astype(np.float64)

    def send_seconds(self, tokens: Ints) -> Floats:
        """Returns zeros."""
        return np.zeros(tokens.shape)


def available(context: Context) -> bool:
    """Returns False: only by name."""
    return False


def open_source(settings: Settings, context: Context, field: str) -> Linear:
    """Returns the source with these prices."""
    return Linear(settings)
