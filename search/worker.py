"""The worker: claims jobs one after the other, runs their studies, and leaves each so that another worker can go on.

Whatever happens to a worker, its jobs are claimed again once their leases end. What it writes while it runs is refused
by the store as soon as another one holds the job.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from db import jobs, queries, record
from db.rows import JobRow
from db.session import Store, open_store
from search import uploads
from search.answers import versions
from search.delivering import Sender, Sending
from search.driver import Stopped
from search.events import Teller
from search.executor.auto import Pool
from search.held import LEASE_S, Held, this_process
from search.patience import Patience
from search.progress import Progress
from search.request import SearchRequest
from search.running import Ended, run_study
from simulator.errors import Infeasible, InputError, StoreError
from simulator.kernel.digest import kernel_digest

# How long finished trials wait in memory for a database that is away or full, and a last word after that.
PATIENCE_S, LAST_WORD_S = 300.0, 10.0
POLL_S = 0.5
log = logging.getLogger("trimtab.worker")
Report = Callable[[Progress], None]
Runner = Callable[[Store, JobRow, Report, Callable[[], bool], Patience], Ended]


@dataclass(frozen=True)
class Settings:
    """How a process of workers runs: its store, its executor, how many studies at a time, and how it sends to webhooks."""

    db: str
    executor: str = "auto"
    address: str | None = None
    studies: int = 1
    limits: jobs.Limits = field(default_factory=jobs.Limits)
    lease_s: float = LEASE_S
    poll_s: float = POLL_S
    patience_s: float = PATIENCE_S
    until_empty: bool = False
    sending: Sending = field(default_factory=Sending)


class Worker:
    """Claims and runs one job at a time, until `stopping` is set; the job that runs then is given back."""

    def __init__(
        self, store: Store, runner: Runner, settings: Settings, stopping: threading.Event, name: str | None = None
    ) -> None:
        self.store, self.runner, self.settings, self.stopping = store, runner, settings, stopping
        self.name = name or this_process()
        self.done = 0

    def run(self) -> int:
        """Returns how many jobs were run, when told to stop, or with `until_empty` when no job is left."""
        while not self.stopping.is_set():
            try:
                job = jobs.claim(self.store, self.name, self.settings.lease_s, self.settings.limits)
            except StoreError as error:
                log.warning("no job can be claimed: %s", error, extra={"worker": self.name})
                self.stopping.wait(self.settings.poll_s)
                continue
            if job is not None:
                self.run_job(job)
                self.done += 1
            elif self.settings.until_empty and not self._waiting():
                break
            else:
                self.stopping.wait(self.settings.poll_s)
        return self.done

    def _waiting(self) -> bool:
        try:
            counts = jobs.counts(self.store)
        except StoreError:
            return True
        return bool(counts.get("queued", 0) or counts.get("running", 0))

    def run_job(self, job: JobRow) -> None:
        """Runs a claimed job to its end, or to where this worker has to leave it; raises nothing that the job causes."""
        begun = time.monotonic()
        self._say("running", job, attempt=job.attempts)
        with Held(self.store, job, self.settings.lease_s) as held:

            def ending() -> bool:
                return self.stopping.is_set() or held.ending()

            try:
                outcome = self._outcome(job, held, ending)
            except jobs.LeaseLost as error:
                outcome = f"left: {error}"
            except StoreError as error:
                # Not even the end could be written: the lease ends by itself, and another attempt follows.
                outcome = f"left: {error}"
        self._say(outcome, job, seconds=round(time.monotonic() - begun, 3))

    def _outcome(self, job: JobRow, held: Held, ending: Callable[[], bool]) -> str:
        """Returns what became of the job, which is stored; raises LeaseLost and StoreError."""
        patience, last_word = Patience(self.settings.patience_s, ending), Patience(LAST_WORD_S)
        teller = Teller(jobs.LeasedStore(self.store, job), job.study_id)
        try:
            ended = self.runner(jobs.LeasedStore(self.store, job), job, teller, ending, patience)
            patience(jobs.finish, self.store, job, ended.state, ended.summary)
            return ended.state
        except Stopped:
            if held.lost:
                return "left: another worker holds it"
            if held.cancelled:
                return last_word(jobs.finish, self.store, job, "cancelled").state
            return f"given back, {last_word(jobs.release, self.store, job).state}"
        except Infeasible as error:
            return patience(jobs.finish, self.store, job, "infeasible", {"sentence": str(error)}).state
        except jobs.LeaseLost:
            raise
        except InputError as error:
            return self._failed(job, last_word, str(error), retry=False)
        except StoreError as error:
            if self.stopping.is_set():
                return f"given back, {last_word(jobs.release, self.store, job).state}"
            return self._failed(job, last_word, str(error), retry=True)
        except Exception as error:
            log.exception("study %s raised", job.study_id)
            return self._failed(job, last_word, f"{type(error).__name__}: {error}", retry=True)

    def _failed(self, job: JobRow, patience: Patience, reason: str, *, retry: bool) -> str:
        left = patience(jobs.fail, self.store, job, reason, retry=retry)
        return f"{'to be tried again' if left.state == 'queued' else left.state}: {reason}"

    def _say(self, what: str, job: JobRow, **more: Any) -> None:
        fields = {"worker": self.name, "study": job.study_id, "job": job.id, **more}
        log.info("study %s: %s", job.study_id, what, extra=fields)


def searching(pool: Pool) -> Runner:
    """Returns what runs the job of a search on the executors of a pool."""

    def run(store: Store, job: JobRow, report: Report, stop: Callable[[], bool], patience: Patience) -> Ended:
        study = queries.study(store, job.study_id)
        software = (versions(), kernel_digest())
        if (study.versions, study.kernel_digest) != software:
            patience(record.begin_anew, store, study.id, *software)
        request = SearchRequest.parse(study.request)
        uploads.fetch(store, request.workload)
        return run_study(store, study.id, request, pool.get, report, stop, patience)

    return run


def run(settings: Settings, stopping: threading.Event | None = None) -> int:
    """Returns how many jobs this process ran until `stopping` was set: with SIGTERM and Ctrl-C where it is not given.

    Runs `settings.studies` workers in threads, which share the store and the executors. Raises InputError for a store or
    an executor that cannot be.
    """
    stop = stopping or threading.Event()
    if stopping is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    with open_store(settings.db) as store, Pool(settings.executor, settings.address) as pool, Sender(store, settings.sending):
        name = this_process()
        workers = [Worker(store, searching(pool), settings, stop, f"{name}/{place}") for place in range(settings.studies)]
        threads = [threading.Thread(target=worker.run, name=f"worker-{place}") for place, worker in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(worker.done for worker in workers)
