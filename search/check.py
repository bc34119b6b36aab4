"""What can be told of a request before anything is stored or run: every door refuses it here, and refuses it at once."""

from __future__ import annotations

from itertools import islice

from search.request import SearchRequest
from search.space import ENUMERABLE
from simulator.draw import draw
from simulator.errors import Infeasible, InputError
from simulator.run import prepare

# Sources that so many deployments ask in vain are wrong for all.
MOST_TRIED = 32


def check(request: SearchRequest) -> None:
    """Raises InputError for a workload that cannot be drawn, a space without a legal deployment, or sources that are not there.

    Raises Infeasible where no single knob is to blame for a space without a legal deployment.
    """
    draw(request.workload, 2, request.seed, resample=True)
    space = request.build_space()
    if space.size > ENUMERABLE:
        return
    refusal: Exception | None = None
    for deployment in islice(space.walk(), MOST_TRIED):
        try:
            prepare(deployment, request.profiles)
            return
        except Infeasible:
            # That this one deployment does not fit in memory says nothing about the others.
            return
        except InputError as error:
            refusal = refusal or error
    raise refusal or space.nothing_legal()
