"""What can be told of a request before anything is stored or run: every door refuses it here, and refuses it at once."""

from __future__ import annotations

from contextlib import suppress

from search.request import SearchRequest
from search.space import ENUMERABLE
from simulator.draw import draw
from simulator.errors import Infeasible
from simulator.run import prepare


def check(request: SearchRequest) -> None:
    """Raises InputError for a workload that cannot be drawn, a space without a legal deployment, or sources that are not there.

    Raises Infeasible where no single knob is to blame for a space without a legal deployment.
    """
    draw(request.workload, 2, request.seed, resample=True)
    space = request.build_space()
    first = next(space.walk(), None) if space.size <= ENUMERABLE else None
    if first is not None:
        # That this one deployment does not fit in memory says nothing about the others.
        with suppress(Infeasible):
            prepare(first, request.profiles)
    elif space.size <= ENUMERABLE:
        raise space.nothing_legal()
