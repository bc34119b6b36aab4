"""The model: embedding, decoder layers over a pool of KV, and logits of the rows that sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from profiler.engine import rotary
from profiler.engine.architecture import Architecture
from profiler.engine.attention import Attend
from profiler.engine.batch import Batch
from profiler.engine.layers import Layer, Norm, empty
from profiler.engine.parallel import ALONE, Group


class Model(nn.Module):
    """One process's share of a decoder-only transformer; embedding and LM head are whole where a stage has them.

    `numbers` are the layers of its stage: all of them where there is one.
    """

    def __init__(self, arch: Architecture, attend: Attend, group: Group = ALONE, partition: tuple[int, ...] | None = None) -> None:
        super().__init__()
        group.check(arch)
        self.arch, self.group, self.attend = arch, group, attend
        self.numbers = group.layers(arch.layers, partition)
        self.embedding = empty(arch.vocab_size, arch.hidden_size) if group.first or (group.last and arch.tied) else None
        self.layers = nn.ModuleList(Layer(arch, group) for _ in self.numbers)
        self.norm = Norm(arch.hidden_size, arch.norm_eps) if group.last else None
        self.head = (self.embedding if arch.tied else empty(arch.vocab_size, arch.hidden_size)) if group.last else None
        like = next(self.parameters())
        self.device, self.dtype = like.device, like.dtype
        self.cosine, self.sine = rotary.table(arch.rope, arch.head_dim, arch.max_position_embeddings, self.device)

    def pool(self, slots: int) -> Tensor:
        """Returns KV for so many tokens, [layers, 2, slots, kv_heads, dim]; zeros, so that padding is harmless."""
        shape = (len(self.numbers), 2, slots, self.arch.kv_heads // self.group.size, self.arch.head_dim)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def block_bytes(self, block_size: int) -> int:
        """Returns what the KV of a block takes."""
        tokens = len(self.numbers) * 2 * block_size
        return tokens * (self.arch.kv_heads // self.group.size) * self.arch.head_dim * self.dtype.itemsize

    @torch.inference_mode()
    def forward(self, batch: Batch, pool: Tensor, handed: Tensor | None = None) -> Tensor:
        """Returns logits [S, vocabulary] in float32 of the rows that sample; writes the KV of all rows into the pool.

        A stage that is not the first one goes on from what the one before it `handed` on, [T, hidden]; one that is not the
        last returns what it hands on.
        """
        x = handed if self.embedding is None or handed is not None else self.embedding[batch.rows]
        assert x is not None
        angles = self.cosine[batch.positions].to(x.dtype), self.sine[batch.positions].to(x.dtype)
        for layer, kv in zip(self.layers, pool, strict=True):
            x = layer(x, angles, kv, batch, self.attend)
        if self.norm is None or self.head is None:
            return x
        return functional.linear(self.norm(x[batch.sampled]), self.head).float()
