"""Operator curves: what each operator of an iteration takes over the tokens of one GPU, and where its times come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator import catalog
from simulator.memory import shard_of
from simulator.optime.chain import Chain, open_sources
from simulator.optime.operators import Floats, Ints, Operator
from simulator.optime.provenance import Origin
from simulator.optime.sources import Context
from simulator.spec.deployment import Resolved

MOST_TOKENS = 8192
# Decodes are priced with so many tokens of KV each, which is told with the curve.
DECODE_KV = 1024


@dataclass(frozen=True, eq=False)
class OperatorCurve:
    """The seconds an iteration that one operator takes, all its layers together, at some extents.

    extent: `tokens` of the iteration, `sequences` sampled, `decodes`, or the `prompt tokens` of one chunk without KV before.
    """

    name: str
    extent: str
    tokens: Ints
    seconds: Floats
    count: int
    origin: Origin


def operator_curves(deployment: Resolved, most: int = MOST_TOKENS) -> list[OperatorCurve]:
    """Returns a curve for every operator, from 1 to `most` by powers of two, from the sources of the default order.

    Raises InputError for a parallelism that cannot be priced.
    """
    model = catalog.model(deployment.model, "deployment.model")
    device = catalog.device(deployment.device, "deployment.device")
    engine = catalog.engine(deployment.engine, "deployment.engine")
    opened = open_sources(None, Context(deployment, model, device, engine))
    assert isinstance(opened, Chain), "no source of whole iterations is in the default order"
    shard = shard_of(deployment, model, device, engine)
    family = catalog.module("families", model.family, "deployment.model.family")
    family.check(shard)
    tokens = 2 ** np.arange(int(np.log2(most)) + 1, dtype=np.int64)
    few = tokens[tokens <= max(deployment.max_num_seqs, 1)]
    sets: list[tuple[str, Ints, list[Operator]]] = [
        ("tokens", tokens, family.token_operators(shard, tokens, False)),
        ("prompt tokens", tokens, family.prefill_operators(shard, tokens, np.zeros_like(tokens))),
        ("decodes", few, family.decode_operators(shard, few, np.full(len(few), float(DECODE_KV)))),
        ("sequences", few, family.sampled_operators(shard, few)),
    ]
    found = []
    for extent, at, operators in sets:
        for operator in operators:
            seconds = opened.seconds([operator])[operator.name]
            found.append(OperatorCurve(operator.name, extent, at, seconds, operator.count, opened.origins[operator.name]))
    return found
