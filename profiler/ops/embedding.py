"""The embedding: rows of the vocabulary's table, which comes from memory."""

from __future__ import annotations

import torch.nn.functional as nn

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the rows of tokens drawn at random; with learned positions those are added."""
    shard, (count,) = subject.shard, place
    model = shard.model
    table = machine.random(shard.vocab_size, model.hidden_size, dtype=shard.dtype)
    tokens = machine.below(shard.vocab_size, count)
    if not model.learned_positions:
        return Case(lambda: nn.embedding(tokens, table), flush=True)
    positions = machine.random(model.max_position_embeddings, model.hidden_size, dtype=shard.dtype)
    places = machine.below(model.max_position_embeddings, count)
    return Case(lambda: nn.embedding(tokens, table) + nn.embedding(places, positions), flush=True)
