"""Studies as the command line finds them in a store: opened only where there is one, printed as a table or as JSON."""

from __future__ import annotations

from pathlib import Path

from db import queries
from db.location import FIELD, database_url
from db.rows import StudyRow
from db.session import Store, open_store
from search import documents
from search.output import console, print_json
from search.request import SearchRequest
from search.table import show_study
from simulator.errors import InputError


def is_there(db: str) -> bool:
    """Returns whether there is a store at `db`, without making one; raises InputError where none can be."""
    url = database_url(db)
    return not url.drivername.startswith("sqlite") or Path(url.database or "").exists()


def existing(db: str) -> Store:
    """Returns the store at `db`; raises InputError where there is none."""
    if not is_there(db):
        raise InputError(FIELD, db, "a store that exists; trimtab search makes one")
    return open_store(db)


def show_frontier(store: Store, study: str, *, as_json: bool, every: bool = False) -> None:
    """Prints a study's frontier; raises InputError for a study that the store does not have."""
    row = queries.study(store, study)
    points, trials = queries.frontier(store, row.id), queries.trials(store, row.id)
    if as_json:
        print_json(documents.frontier(row, points, trials))
    else:
        show_study(console(), row, points, trials, place=store.place, every=every)


def show_infeasible(db: str, request: SearchRequest, *, as_json: bool) -> None:
    """Prints the study of this request that has just ended without a frontier."""
    with existing(db) as store:
        lines = queries.studies(store, state="infeasible")
        found = next((line.study for line in lines if _is_of(line.study, request)), None)
        if found is not None:
            show_frontier(store, found.id, as_json=as_json)


def kept(db: str, request: SearchRequest) -> int:
    """Returns how many trials of an interrupted study are stored."""
    if not is_there(db):
        return 0
    with existing(db) as store:
        row = queries.find_resumable(store, request.digest(), request.seed)
        return 0 if row is None else len(queries.finished_trials(store, row.id))


def _is_of(row: StudyRow, request: SearchRequest) -> bool:
    return (row.digest, row.seed) == (request.digest(), request.seed)
