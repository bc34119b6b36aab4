"""The worker: an engine in a thread of its own, fed by a queue; tokens go to whoever asked, by a callback."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.engine.driver import Served
from profiler.engine.engine import Engine, Landed
from profiler.engine.failure import is_out_of_memory, reason
from profiler.engine.sampling import Sampling


@dataclass(eq=False)
class Ticket:
    """A request on its way through the worker: `tell` gets each of its tokens, or None when the worker has died."""

    prompt: Sequence[int]
    sampling: Sampling
    arrived_at: float
    tell: Callable[[Landed | None], None]
    priority: int = 0
    served: Served | None = None
    dropped: bool = False

    @property
    def cached_tokens(self) -> int:
        """The tokens of its prompt that were in the prefix cache."""
        return (self.served.cached_tokens if self.served is not None else None) or 0


class Worker:
    """Runs an engine until it is closed; `submit` and `drop` may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failure: BaseException | None = None
        # What requests are told that cannot go on, and what is done when that is because the engine failed.
        self.reason = "the engine has stopped"
        self.on_failure: Callable[[], None] = lambda: None
        self._commands: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._tickets: dict[Served, Ticket] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine is still running."""
        return not self._ended

    def submit(self, prompt: Sequence[int], sampling: Sampling, tell: Callable[[Landed | None], None], priority: int = 0) -> Ticket:
        """Returns the ticket of a request that arrives now; raises InputError when it can never be served."""
        self.engine.check(prompt, sampling)
        ticket = Ticket(prompt, sampling, self.engine.now, tell, priority)
        self._commands.put(ticket)
        # Whoever comes while the thread ends may be told twice.
        if self._ended:
            tell(None)
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Takes a request out, whose client has gone."""
        ticket.dropped = True
        self._commands.put(ticket)

    def close(self) -> None:
        """Ends the thread after the step that it is at; requests that are left get no further token."""
        self._commands.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._take_commands(wait=False):
                landed = self.engine.step()
                if landed is None and not self._take_commands(wait=True):
                    return
                for each in landed or ():
                    self._tell(each)
        except BaseException as error:
            self.failure, self.reason = error, reason(error, self.engine.runner.device)
            # Memory that runs out is no mistake of the code's: whoever asked is told in a line.
            if not is_out_of_memory(error):
                raise
        finally:
            self._ended = True
            left = list(self._tickets.values())
            while not self._commands.empty():
                left += [ticket for ticket in [self._commands.get()] if ticket is not None]
            for ticket in left:
                ticket.tell(None)
            if self.failure is not None:
                self.on_failure()

    def _take_commands(self, *, wait: bool) -> bool:
        """Carries out the commands that are there, waiting for one if asked to; returns False when the worker is to end."""
        while True:
            try:
                ticket = self._commands.get(block=wait)
            except queue.Empty:
                return True
            wait = False
            if ticket is None:
                return False
            if ticket.dropped:
                if ticket.served is not None and self._tickets.pop(ticket.served, None) is not None:
                    self.engine.drop(ticket.served)
            else:
                ticket.served = self.engine.add(ticket.prompt, ticket.sampling, ticket.arrived_at, ticket.priority)
                self._tickets[ticket.served] = ticket

    def _tell(self, landed: Landed) -> None:
        ticket = self._tickets[landed.served] if landed.reason is None else self._tickets.pop(landed.served)
        ticket.tell(landed)
