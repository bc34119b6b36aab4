"""What may go wrong with one request, or with a whole run.

    LoadFault
        Refused         the server answered with an error status
        Malformed       the answer is not what the API promises
        Lost            the connection broke, or could not be made
        Silent          nothing came for longer than was waited

Each has a `kind`, one word that is stored and counted.
"""

from __future__ import annotations

from simulator.errors import Unmeasured


class LoadFault(Unmeasured):
    """One request that was not answered as it should have been."""

    kind = "fault"


class Refused(LoadFault):
    """The server answered with an error status."""

    kind = "refused"


class Malformed(LoadFault):
    """The answer is not what the API promises."""

    kind = "malformed"


class Lost(LoadFault):
    """The connection broke, or could not be made."""

    kind = "lost"


class Silent(LoadFault):
    """Nothing came for longer than was waited."""

    kind = "silent"
