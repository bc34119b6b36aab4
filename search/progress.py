"""Progress: what a running study tells people, on standard error, and how they stop it.

A service calls its `report` with a Progress as often as it likes; a Reporter decides what is worth showing: a line that
stays in place on a terminal, elsewhere a plain line a second at most and one whenever the phase changes.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

if TYPE_CHECKING:
    from rich.live import Live

Phase = Literal["screen", "rescore", "final"]
SECONDS_BETWEEN_LINES = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a study stands: `done` of `total` trials of its phase, the best so far, and the seconds spent and left.

    `total` is 0 as long as it is unknown. `sentence` says once what was decided: which executor runs and why, what a
    resumed study already has.
    """

    phase: Phase
    done: int
    total: int
    best: str | None
    elapsed_s: float
    left_s: float | None
    sentence: str | None = None

    def line(self) -> str:
        """Returns the progress in one line, what matters most first."""
        parts = [f"{self.phase}: {self.done:,} of {self.total:,} trials"]
        if self.left_s:
            parts.append(f"about {duration(self.left_s)} left")
        if self.best is not None:
            parts.append(f"best so far: {self.best}")
        return ", ".join([*parts, f"after {duration(self.elapsed_s)}"])


def duration(seconds: float) -> str:
    """Returns a time for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Reporter:
    """Shows progress on standard error from `with` to its end; calling it costs nothing to speak of."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the stream to write to, standard error by default, and the clock that spaces the lines."""
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._live: Live | None = None
        self._phase: str | None = None
        self._sentences: set[str] = set()
        self._said_at = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        """Returns the reporter, which owns the terminal's last line from now on."""
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, markup=False, highlight=False)
            self._live = Live(console=console, transient=True, refresh_per_second=5)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Gives the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, progress: Progress) -> None:
        """Shows the progress, or lets it pass when another was shown just now."""
        if progress.sentence and progress.sentence not in self._sentences:
            self._sentences.add(progress.sentence)
            self._say(progress.sentence)
        if not progress.total:
            return
        if self._live is not None:
            self._live.update(_one_line(progress.line()))
            return
        now, new_phase = self._clock(), progress.phase != self._phase
        if new_phase or now - self._said_at >= SECONDS_BETWEEN_LINES:
            self._phase, self._said_at = progress.phase, now
            self._say(progress.line())

    def _say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line)
        else:
            print(line, file=self._stream, flush=True)


def _one_line(text: str) -> Any:
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ellipsis")


class Interrupt:
    """Ctrl-C as a question that a study asks between its trials; a second one ends the process at once."""

    def __init__(self) -> None:
        """Makes a question that nobody has answered with yes."""
        self.asked = False
        self._before: Any = None

    def __call__(self) -> bool:
        """Returns whether the study is to stop."""
        return self.asked

    def __enter__(self) -> Self:
        """Takes Ctrl-C over; does nothing outside the main thread, which alone may."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Gives Ctrl-C back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
