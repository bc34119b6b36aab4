"""The operators of one iteration, priced: by scheduled tokens, sequences sampled, decodes and chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from simulator.optime.attended import DecodeAttention
from simulator.optime.chain import Chain
from simulator.optime.efficiency import calibration_of
from simulator.optime.families import Shard
from simulator.optime.graphs import LAUNCHES, padded
from simulator.optime.knots import octaves, union
from simulator.optime.operators import ITEM_BYTES, Floats, Ints, Operator, Transfer
from simulator.optime.sources import Knots
from simulator.optime.sources.roofline import Roofline
from simulator.spec.deployment import Resolved
from simulator.spec.device import Device

Operators = Callable[[Ints, bool], list[Operator]]


@dataclass(frozen=True, eq=False)
class Iteration:
    """One GPU's part of a model of some family, with the sources that price its operators."""

    family: ModuleType
    shard: Shard
    chain: Chain
    eager_launch_s: float = np.inf

    def token_seconds(self, deployment: Resolved, sizes: Ints, last: int) -> tuple[Floats, Floats]:
        """Returns token_s[3, T + 1] and stage_token_s[p, T + 1].

        Operators are priced at the scheduled tokens, or at the captured size where a graph is replayed. In a pipeline, what
        runs once an iteration lies on the first stage (embedding) or the last one, and each but the last sends its output on.
        """
        at = union(last, self.chain.token_knots(), sizes, octaves(1, last))
        pipeline = deployment.pipeline_parallel_size

        def operators(tokens: Ints, captured: bool) -> list[Operator]:
            every: list[Operator] = self.family.token_operators(self.shard, tokens, captured)
            return every

        if pipeline == 1:
            return self._by_kind(operators, deployment, sizes, at, last), np.zeros((1, last + 1))

        def layers(tokens: Ints, captured: bool) -> list[Operator]:
            return [operator for operator in operators(tokens, captured) if _stage_of(operator) is None]

        beside = np.zeros((pipeline, last + 1))
        every = np.arange(1, last + 1)
        for operator in operators(at, False):
            stage = _stage_of(operator)
            if stage is not None:
                beside[stage, 1:] += np.interp(every, at, self._total([operator], at))
        width = self.shard.model.hidden_size * ITEM_BYTES[self.shard.dtype]
        send = Transfer("send_recv", at, width, pipeline * deployment.tensor_parallel_size)
        beside[:-1, 1:] += np.interp(every, at, self._total([send], at))
        return self._by_kind(layers, deployment, sizes, at, last), beside

    def _by_kind(self, operators: Operators, deployment: Resolved, sizes: Ints, at: Ints, last: int) -> Floats:
        """Returns seconds[3, T + 1] of the operators by kind of iteration and scheduled tokens."""
        launches = LAUNCHES[deployment.cudagraph_mode]
        every = np.arange(last + 1)

        def curve(captured: bool) -> Floats:
            return np.concatenate([[0.0], np.interp(every[1:], at, self._total(operators(at, captured), at))])

        eager = curve(captured=False)
        graph_s = eager
        if len(sizes) and set(launches) != {"eager"}:
            graph_s = np.where(every <= sizes[-1], curve(captured=True)[padded(every, sizes)], eager)
            graph_s[0] = 0.0
        if deployment.cudagraph_mode == "SELECTIVE":
            # A size is run without its graph where that is faster and the GPU's work hides the launches.
            hidden = eager >= self.eager_launch_s
            graph_s = np.where(hidden, np.minimum(eager, graph_s), graph_s)
        return np.stack([eager if launch == "eager" else graph_s for launch in launches])

    def sample_seconds(self, last: int) -> Floats:
        """Returns sample_s[S + 1]: the LM head and the sampler are not padded, since no graph holds them."""
        at = union(last, self.chain.token_knots(), octaves(1, last))
        total = self._total(self.family.sampled_operators(self.shard, at), at)
        return np.concatenate([[0.0], np.interp(np.arange(1, last + 1), at, total)])

    def decode_seconds(self, knots: Knots, beside_chunk: int = 0) -> Floats:
        """Returns decode_s[b, k], alone or beside a chunk of so many tokens.

        No KV is priced as one token, at most as much as the first knot above.
        """
        batch, kv = np.meshgrid(knots.decode_batch, np.maximum(knots.decode_kv, 1), indexing="ij")
        operators = self.family.decode_operators(self.shard, batch.ravel(), kv.ravel().astype(np.float64))
        if beside_chunk:
            operators = [
                replace(each, beside_chunk=beside_chunk) if isinstance(each, DecodeAttention) else each for each in operators
            ]
        seconds = self._total(operators, batch.ravel()).reshape(batch.shape)
        seconds[:, 0] = np.minimum(seconds[:, 0], seconds[:, 1])
        return seconds

    def mixed_decode_seconds(self, knots: Knots, decode_s: Floats, device: Device, longest: int) -> tuple[Floats, float]:
        """Returns what decodes add to an iteration with chunks: seconds[b, k], and more for each decode and chunk token.

        The latter from chunks of one token and of `longest`; from sources that do not know, by the roofline's ratio.
        """
        short, long = (self._beside(knots, decode_s, device, chunk) for chunk in (1, longest))
        pairs = knots.decode_batch[:, None] * max(longest - 1, 1)
        per_pair = max(float(np.median((long - short) / pairs)), 0.0)
        return np.maximum(short - per_pair * knots.decode_batch[:, None], 0.0), per_pair

    def _beside(self, knots: Knots, decode_s: Floats, device: Device, chunk: int) -> Floats:
        """Returns what decodes add to an iteration with a chunk of so many tokens."""
        seconds = self.decode_seconds(knots, beside_chunk=chunk)
        ideal = any(isinstance(source, Roofline) and source.calibration is None for _, source in self.chain.sources)
        if ideal or not np.array_equal(seconds, decode_s):
            return seconds
        roofline = replace(self, chain=Chain([("roofline", Roofline(device, calibration_of(device)))]))
        alone = roofline.decode_seconds(knots)
        ratio = roofline.decode_seconds(knots, beside_chunk=chunk) / np.where(alone > 0, alone, 1.0)
        return decode_s * np.maximum(ratio, 1.0)

    def prefill_seconds(self, knots: Knots) -> Floats:
        """Returns seconds[c, k] of the attention of one chunk that is alone in its iteration."""
        chunk, kv = np.meshgrid(knots.prefill_chunk, knots.prefill_kv, indexing="ij")
        operators = self.family.prefill_operators(self.shard, chunk.ravel(), kv.ravel())
        return self._total(operators, chunk.ravel()).reshape(chunk.shape)

    def pass_seconds(self, deployment: Resolved) -> Callable[[Floats], Floats]:
        """Returns a function from a mean KV to the seconds of one verification pass: a window of each of its sequences.

        Every row of it is sampled; its one shape is captured in a graph, so that launches are not counted.
        """
        window, sequences = deployment.verification_window or 1, deployment.verification_sequences or 1
        rows = np.array([window * sequences], dtype=np.int64)
        fixed = self._total(self.family.token_operators(self.shard, rows, True), rows)
        fixed = fixed + self._total(self.family.sampled_operators(self.shard, rows), rows)

        def seconds(kv: Floats) -> Floats:
            before = kv.astype(np.int64)
            chunks = np.full(before.shape, window, dtype=np.int64)
            attention = self._total(self.family.prefill_operators(self.shard, chunks, before), chunks)
            return np.asarray(fixed[0] + sequences * attention)

        return seconds

    def _total(self, operators: Iterable[Operator], at: Ints) -> Floats:
        return sum(self.chain.seconds(operators).values(), np.zeros(at.shape))


def _stage_of(operator: Operator) -> int | None:
    """Returns the stage, 0 or -1, of an operator that runs once an iteration; None for those of the layers."""
    if operator.name.startswith("embedding"):
        return 0
    return -1 if operator.name.startswith("final") else None
