"""Where operator times come from: priced points, and what is told of them with every result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.optime.operators import Floats
from simulator.spec.base import Spec

Kind = Literal["measured", "interpolated", "extrapolated", "roofline", "absent"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURED, INTERPOLATED, EXTRAPOLATED, ROOFLINE, ABSENT = range(len(KINDS))
KindCodes = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Priced:
    """The seconds of every point of an operator and, by point, their kind as an index into KINDS."""

    seconds: Floats
    kinds: KindCodes

    @classmethod
    def of(cls, seconds: Floats, kind: int) -> Priced:
        """Returns points that all have one kind."""
        return cls(seconds, np.full(seconds.shape, kind, dtype=np.int8))


class Origin(Spec):
    """The source of one operator's times; `kind` is that of most of its points, `points` counts them by kind."""

    source: str | None
    kind: Kind
    versions: dict[str, str] = Field(default_factory=dict)
    points: dict[Kind, int] = Field(default_factory=dict)

    @classmethod
    def absent(cls) -> Origin:
        """Returns the origin of a time that no source gives, which therefore counts as zero."""
        return cls(source=None, kind="absent")

    @classmethod
    def of(cls, source: str, versions: dict[str, str], kinds: KindCodes) -> Origin:
        """Returns the origin of points with these kinds."""
        counts = np.bincount(kinds.ravel(), minlength=len(KINDS))
        points = {kind: int(count) for kind, count in zip(KINDS, counts, strict=True) if count}
        return cls(source=source, kind=KINDS[int(np.argmax(counts))], versions=versions, points=points)

    def joined(self, other: Origin) -> Origin:
        """Returns the origin of both sets of points, which come from one source."""
        points = {kind: self.points.get(kind, 0) + other.points.get(kind, 0) for kind in KINDS}
        present = {kind: count for kind, count in points.items() if count}
        kind = max(present, key=present.__getitem__, default=self.kind)
        return self.model_copy(update={"points": present, "kind": kind})


class Provenance(Spec):
    """The origin of every operator's times and of the host's, by name."""

    operators: dict[str, Origin]

    @property
    def absent(self) -> list[str]:
        """The names that no source prices."""
        return sorted(name for name, origin in self.operators.items() if origin.kind == "absent")
