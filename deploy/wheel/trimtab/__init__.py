"""The one name that an installed Trimtab has beside other packages': importing it makes the rooms within importable.

Rooms have common names (`search`, `db`, ...). In the repository they are the top level; in a wheel they lie in
`trimtab/rooms`, so that no file of another package can be overwritten, nor overwrite one of theirs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOMS = str(Path(__file__).parent / "rooms")

if ROOMS not in sys.path:
    # First, whatever else is called so; and in the processes that this one starts, workers of Ray among them.
    sys.path.insert(0, ROOMS)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOMS, os.environ.get("PYTHONPATH"))))


def entry() -> None:
    """Runs the command line and ends the process with its exit status."""
    from search.cli import entry as run

    run()
