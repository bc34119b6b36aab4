"""The use cases, one function each: every door (command line, REST, dashboard) calls these."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from db import jobs, queries, record
from db.rows import JobRow, StudyRow
from db.session import Store, open_store
from search.answers import run_capacity, run_simulation, versions
from search.delivering import from_environment, send_due
from search.driver import Stopped
from search.executor import Executor
from search.executor.auto import choose
from search.held import LEASE_S, Held, is_gone, this_process
from search.patience import Patience
from search.progress import Progress
from search.request import SearchRequest
from search.running import run_study
from simulator.errors import Infeasible, InputError
from simulator.kernel.digest import kernel_digest

__all__ = [
    "cancel",
    "clone",
    "delete",
    "resume",
    "run_capacity",
    "run_search",
    "run_simulation",
    "submit",
    "versions",
]
# How long the command line tries to store what it has scored before it gives up.
PATIENCE_S = 60.0


def run_search(
    request: SearchRequest,
    *,
    db: str,
    executor: str = "auto",
    address: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Returns the id of the study, run to its end and stored; an unfinished study of the same request is resumed.

    Raises Infeasible when nothing keeps the Slo, Stopped when `stop` asked for it, StoreError when another process runs
    this very study; what was scored stays stored. Webhooks of the store are told before it ends.
    """
    how = from_environment()
    with open_store(db) as store, ExitStack() as opened:
        opened.callback(send_due, store, how)
        job = _begin(store, request)
        held = opened.enter_context(Held(store, job))

        def chosen(work_s: float) -> tuple[Executor, str]:
            workers, sentence = choose(executor, work_s, address)
            return opened.enter_context(workers), sentence

        def ending() -> bool:
            return stop() or held.ending()

        leased, patience = jobs.LeasedStore(store, job), Patience(PATIENCE_S, ending)
        try:
            ended = run_study(leased, job.study_id, request, chosen, report, ending, patience)
        except (Stopped, KeyboardInterrupt):
            jobs.finish(store, job, "cancelled")
            raise
        except jobs.LeaseLost:
            raise
        except Infeasible as error:
            jobs.finish(store, job, "infeasible", {"sentence": str(error)})
            raise
        except BaseException as error:
            jobs.finish(store, job, "failed", {"sentence": f"{type(error).__name__}: {error}"})
            raise
        patience(jobs.finish, store, job, ended.state, ended.summary)
        if ended.reason is not None:
            raise Infeasible(f"study {job.study_id}: {ended.reason}")
        return job.study_id


def _begin(store: Store, request: SearchRequest) -> JobRow:
    """Returns the job, held here, of the study to run: an unfinished one of this request by this very software, else a new one."""
    new = _new_study(request)
    unfinished = queries.find_resumable(store, new["digest"], request.seed)
    if unfinished is not None and (unfinished.versions, unfinished.kernel_digest) == (new["versions"], new["kernel_digest"]):
        return jobs.take(store, unfinished.id, this_process(), LEASE_S, is_gone)
    return jobs.begin(store, new, this_process(), LEASE_S)


def _new_study(request: SearchRequest) -> jobs.NewStudy:
    return jobs.NewStudy(
        name=request.name,
        digest=request.digest(),
        request=request.model_dump(mode="json"),
        seed=request.seed,
        versions=versions(),
        kernel_digest=kernel_digest(),
    )


def submit(
    store: Store,
    document: Mapping[str, Any] | SearchRequest,
    *,
    key_id: str | None = None,
    priority: int = 0,
    idempotency_key: str | None = None,
) -> jobs.Submitted:
    """Returns the study that a request asks for and the job that a worker will claim; `new` is false for a repeated submit.

    `key_id` names the API key that submits. Raises InputError for a wrong request, and for an idempotency key that was
    used for another one.
    """
    request = document if isinstance(document, SearchRequest) else SearchRequest.parse(dict(document))
    idempotency = None if idempotency_key is None else (idempotency_key, _digest(request))
    return jobs.submit(store, _new_study(request), key_id=key_id, priority=priority, idempotency=idempotency)


def _digest(request: SearchRequest) -> str:
    """Returns the SHA-256 of all that was asked; the study's own digest leaves out what does not change its answer."""
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def cancel(store: Store, study: str) -> StudyRow:
    """Returns the study: cancelled where it waited, still running where a worker is told to stop within two seconds.

    A study that has ended stays as it is. Raises InputError for an unknown study.
    """
    return jobs.request_cancel(store, queries.study(store, study).id)


def resume(store: Store, study: str, *, key_id: str | None = None, priority: int = 0) -> StudyRow:
    """Returns the cancelled or failed study, queued to go on with what it has stored; one that is under way stays so.

    Raises InputError for an unknown study and for one that has its answer.
    """
    found = queries.study(store, study)
    jobs.resume(store, found.id, key_id=key_id, priority=priority)
    return queries.study(store, found.id)


def delete(store: Store, study: str) -> StudyRow:
    """Returns the study as it was, now removed with its trials, points, jobs and events; whoever ran it stops."""
    found = queries.study(store, study)
    record.delete_study(store, found.id)
    return found


def clone(
    store: Store,
    study: str,
    changes: Mapping[str, Any] | None = None,
    *,
    key_id: str | None = None,
    priority: int = 0,
    idempotency_key: str | None = None,
) -> jobs.Submitted:
    """Returns a new study of the request of another with `changes`: fields replaced, objects within merged, None removing.

    Raises InputError for an unknown study and for a request that the changes make wrong.
    """
    found = queries.study(store, study)
    document = _merged(found.request, changes or {})
    if not isinstance(document.get("name"), str):
        raise InputError("name", document.get("name"), "a name")
    return submit(store, document, key_id=key_id, priority=priority, idempotency_key=idempotency_key)


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document after a JSON merge patch (RFC 7396)."""
    merged = dict(old)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            before = merged.get(name)
            merged[name] = _merged(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged
