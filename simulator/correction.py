"""Applying a correction: the price list with each class of operators at its factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.kernel import engine
from simulator.optime.provenance import Origin
from simulator.run import Prepared
from simulator.spec.correction import Correction, OperatorClass

# Which figures of a price list belong to which class.
TABLES: Mapping[OperatorClass, tuple[str, ...]] = {
    "attention": ("decode_s", "prefill_s", "mixed_decode_s", "mixed_pair_s"),
    "rest": ("token_s", "sample_s", "stage_token_s"),
    "host": ("floor_s", "extra_s"),
}
CLASSES = tuple(TABLES)


def with_factors(prepared: Prepared, factors: Mapping[OperatorClass, float]) -> Prepared:
    """Returns the deployment on which each class of operators takes its factor times as long; classes left out stay."""
    scaled = {table: getattr(prepared.price_list, table) * factor for name, factor in factors.items() for table in TABLES[name]}
    prices = replace(prepared.price_list, **scaled)
    return replace(prepared, price_list=prices, prices=engine.prices_of(prices, prepared.limits))


def corrected(prepared: Prepared, correction: Correction | None) -> Prepared:
    """Returns the deployment under a correction, which its provenance names; the same one without a correction."""
    if correction is None:
        return prepared
    changed = with_factors(prepared, {name: getattr(correction, name) for name in CLASSES})
    told: dict[str, str] = {name: f"{getattr(correction, name):.4g}" for name in CLASSES}
    origin = Origin(source=f"correction {correction.name}", kind="measured", versions=told)
    operators = {**prepared.provenance.operators, "correction": origin}
    return replace(changed, provenance=prepared.provenance.model_copy(update={"operators": operators}))
