"""The processes of one engine: the first one drives, the others are started by it and compute what it computes."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing

from profiler.engine.engine import Engine
from profiler.engine.parallel import ALONE, Group

# How an engine is made in every process of its group; it travels to the others, and so has to be picklable.
Make = Callable[[Group], Engine]
FAREWELL_S = 10


@contextmanager
def together(make: Make, size: int, stages: int = 1) -> Iterator[Engine]:
    """Yields the engine of the first of stages x size processes; the others end with the block, or with this process."""
    if size * stages == 1:
        yield make(ALONE)
        return
    context: Any = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="trimtab-group-") as folder:
        meeting, threads = (Path(folder) / "meeting").as_uri(), torch.get_num_threads()
        others = [
            context.Process(target=_follow, args=(make, number, size, stages, meeting, threads), daemon=True)
            for number in range(1, size * stages)
        ]
        for each in others:
            each.start()
        try:
            engine = make(_join(0, size, stages, meeting))
            yield engine
            engine.runner.close()
            for each in others:
                each.join(FAREWELL_S)
        finally:
            for each in others:
                each.kill()
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def _follow(make: Make, number: int, size: int, stages: int, meeting: str, threads: int) -> None:
    # Ctrl-C is for the first process, which says when there are no more steps.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    make(_join(number, size, stages, meeting)).runner.follow()
    torch.distributed.destroy_process_group()


def _join(number: int, size: int, stages: int, meeting: str) -> Group:
    """Returns a process's place among all: Gloo for what is on the host, NCCL for what is on GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, init_method=meeting, rank=number, world_size=size * stages)
    # Every process has to take part in making every group.
    teams = [torch.distributed.new_group(list(range(stage * size, (stage + 1) * size))) for stage in range(stages)]
    stage, rank = divmod(number, size)
    return Group(rank, size, stage, stages, teams[stage])
