"""Price book: what instances of GPUs cost an hour, by date and source."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from simulator.errors import InputError
from simulator.spec.base import Spec

# Smaller instances lack the network that joins the GPUs of one replica across machines.
FULL_NODE_GPUS = 8
Term = Literal["on_demand", "reserved", "spot"]


class Instance(Spec):
    """One rentable machine: `gpus` of one `device` for so many dollars an hour."""

    name: str
    provider: str
    device: str
    gpus: PositiveInt
    on_demand_usd_per_hour: PositiveFloat | None = None
    reserved_usd_per_hour: PositiveFloat | None = None
    spot_usd_per_hour: PositiveFloat | None = None
    region: str | None = None
    source: str

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.on_demand_usd_per_hour is None and self.reserved_usd_per_hour is None and self.spot_usd_per_hour is None:
            raise InputError("on_demand_usd_per_hour", None, "at least one of on demand, reserved and spot")
        return self

    def usd_per_hour(self, term: Term) -> float | None:
        """Returns dollars an hour for the term, or None when the book has none."""
        return {
            "on_demand": self.on_demand_usd_per_hour,
            "reserved": self.reserved_usd_per_hour,
            "spot": self.spot_usd_per_hour,
        }[term]


class Bill(Spec):
    """What a fleet rents: whole instances, or single GPUs where the book sells them so."""

    instance: str
    provider: str
    instances: PositiveInt
    gpus_rented: PositiveInt
    usd_per_hour: NonNegativeFloat


class PriceBook(Spec):
    """Instance types with prices; `packing` says whether cost packs whole instances or counts single GPUs."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    packing: Literal["instance", "per_gpu"] = "instance"
    term: Term = "on_demand"
    instances: tuple[Instance, ...] = Field(min_length=1, strict=False)
    sources: dict[str, str] = Field(min_length=1)

    @property
    def devices(self) -> list[str]:
        """The devices that the book sells on its term, sorted."""
        return sorted({i.device for i in self.instances if i.usd_per_hour(self.term) is not None})

    def offers(self, device: str, gpus_per_replica: int) -> list[Instance]:
        """Returns the instances of `device` on this book's term that hold a replica whole, else full nodes that share one."""
        priced = [i for i in self.instances if i.device == device and i.usd_per_hour(self.term) is not None]
        if self.packing == "per_gpu":
            return priced
        whole = [i for i in priced if i.gpus >= gpus_per_replica]
        return whole or [i for i in priced if i.gpus >= FULL_NODE_GPUS and gpus_per_replica % i.gpus == 0]

    def bill(self, device: str, gpus_per_replica: int, replicas: int) -> Bill | None:
        """Returns the cheapest rent for so many replicas, or None when the book cannot hold one."""
        bills = [self._bill(i, gpus_per_replica, replicas) for i in self.offers(device, gpus_per_replica)]
        return min(bills, key=lambda b: (b.usd_per_hour, b.gpus_rented, b.instance), default=None)

    def _bill(self, offer: Instance, gpus_per_replica: int, replicas: int) -> Bill:
        price = offer.usd_per_hour(self.term)
        assert price is not None, "offers() keeps priced instances only"
        if self.packing == "per_gpu":
            gpus = gpus_per_replica * replicas
            return Bill(
                instance=offer.name,
                provider=offer.provider,
                instances=math.ceil(gpus / offer.gpus),
                gpus_rented=gpus,
                usd_per_hour=gpus * price / offer.gpus,
            )
        if offer.gpus >= gpus_per_replica:
            count = math.ceil(replicas / (offer.gpus // gpus_per_replica))
        else:
            count = replicas * (gpus_per_replica // offer.gpus)
        return Bill(
            instance=offer.name,
            provider=offer.provider,
            instances=count,
            gpus_rented=count * offer.gpus,
            usd_per_hour=count * price,
        )
