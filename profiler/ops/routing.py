"""The router's choice: the experts of each token and their weights."""

from __future__ import annotations

import torch

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns softmax and top k over the router's logits of `rows` tokens."""
    model = subject.shard.model
    logits = machine.random(place[0], model.num_local_experts or 1, dtype=subject.shard.dtype)
    return Case(lambda: torch.topk(torch.softmax(logits.float(), dim=-1), model.top_k, dim=-1), flush=False)
