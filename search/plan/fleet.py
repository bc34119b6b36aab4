"""How many units a fleet needs hour by hour: whole instances as the price book packs them, with headroom and redundancy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.plan.request import Fleet
from simulator.spec.prices import Instance, PriceBook, Term

# Demand is a sum of products of floats: a fleet that fits to a billionth fits.
_EPSILON = 1e-9


@dataclass(frozen=True)
class Unit:
    """What is rented, and lost, together: `replicas` on `instances` of an offer with `gpus`, at so many dollars an hour."""

    offer: Instance
    replicas: int
    instances: int
    gpus: int
    usd_per_hour: tuple[tuple[Term, float], ...]

    def price(self, term: Term) -> float | None:
        """Returns dollars an hour on a term; None where the book has none."""
        return dict(self.usd_per_hour).get(term)


def units_of(book: PriceBook, device: str, gpus_per_replica: int, paid: tuple[Term, ...]) -> list[Unit]:
    """Returns every unit of the book that holds whole replicas, with its prices on the terms that may be paid."""
    found: dict[str, Instance] = {}
    for term in paid:
        for offer in book.model_copy(update={"term": term}).offers(device, gpus_per_replica):
            found[f"{offer.provider} {offer.name} {offer.region}"] = offer
    return [_unit(offer, book.packing, gpus_per_replica, paid) for offer in found.values()]


def _unit(offer: Instance, packing: str, gpus_per_replica: int, paid: tuple[Term, ...]) -> Unit:
    if packing == "per_gpu":
        replicas, instances, gpus, share = (
            1,
            math.ceil(gpus_per_replica / offer.gpus),
            gpus_per_replica,
            gpus_per_replica / offer.gpus,
        )
    elif offer.gpus >= gpus_per_replica:
        replicas, instances, gpus, share = offer.gpus // gpus_per_replica, 1, offer.gpus, 1.0
    else:
        instances = gpus_per_replica // offer.gpus
        replicas, gpus, share = 1, gpus_per_replica, float(instances)
    prices = ((term, offer.usd_per_hour(term)) for term in paid)
    return Unit(offer, replicas, instances, gpus, tuple((term, price * share) for term, price in prices if price is not None))


def needed(rates: NDArray[np.float64], per_replica_rps: float, rules: Fleet, unit: Unit) -> tuple[int, ...]:
    """Returns the units of each hour: one replica at least, and as many as hold the demand with its headroom after a loss."""
    return tuple(_units(replicas_for(float(rate), per_replica_rps, rules.headroom), rules, unit.replicas) for rate in rates)


def replicas_for(rate: float, per_replica_rps: float, headroom: float) -> int:
    """Returns the fewest replicas that hold a rate and its headroom, one at least."""
    return max(math.ceil(rate * (1 + headroom) / per_replica_rps * (1 - _EPSILON)), 1)


def _units(replicas: int, rules: Fleet, held: int) -> int:
    if rules.survives == "replica":
        return math.ceil((replicas + 1) / held)
    units = math.ceil(replicas / held)
    if rules.survives == "instance":
        return units + 1
    if rules.survives == "zone":
        assert rules.zones is not None, "asked for by Fleet"
        # Spread as evenly as whole units go, the fullest zone has the ceiling of a share.
        return math.ceil(units * rules.zones / (rules.zones - 1) * (1 - _EPSILON))
    return units


def left(units: int, rules: Fleet, held: int) -> int:
    """Returns the replicas that serve after the loss that the fleet survives."""
    if rules.survives == "zone":
        assert rules.zones is not None, "asked for by Fleet"
        units -= math.ceil(units / rules.zones)
    return (units - (rules.survives == "instance")) * held - (rules.survives == "replica")
