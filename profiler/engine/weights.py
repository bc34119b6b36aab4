"""Weights: random ones from a seed, or a checkpoint in Hugging Face's layout (safetensors, one file or several)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from profiler.engine.architecture import Architecture
from profiler.engine.attention import Attend
from profiler.engine.layers import Attention, Experts, Layer, Linear, Mlp, Norm
from profiler.engine.model import Model
from profiler.engine.parallel import ALONE, Group
from simulator.errors import InputError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
# The spread of new weights in Hugging Face's configs, initializer_range.
SPREAD = 0.02


def build(
    arch: Architecture,
    attend: Attend,
    device: torch.device,
    dtype: torch.dtype,
    group: Group = ALONE,
    partition: tuple[int, ...] | None = None,
) -> Model:
    """Returns the model with weights that are still to be filled."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return Model(arch, attend, group, partition)
    finally:
        torch.set_default_dtype(before)


def randomize(model: Model, seed: int = 0) -> None:
    """Fills the model with normal numbers around 0, norms with 1 and biases with 0; processes of a group draw each their own."""
    generator = torch.Generator(model.device).manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.normal_(0.0, SPREAD, generator=generator)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


def load(model: Model, folder: Path, field: str = "--model-path") -> None:
    """Fills the model from a checkpoint; raises InputError when a tensor is absent or has another shape."""
    with ExitStack() as stack:
        checkpoint = Checkpoint(folder, field, stack)
        for weight, parts in _places(model):
            filled = 0
            for each in parts:
                part = checkpoint.read(each, model.group)
                _copy(weight[filled : filled + len(part)], part, each.name, field)
                filled += len(part)
            if filled != len(weight):
                raise InputError(
                    field, f"{parts[0].name} of {filled} rows", f"a checkpoint of this config.json, {len(weight)} rows"
                )


@dataclass(frozen=True)
class Part:
    """A tensor of the checkpoint that a weight is made of; `width` of one dimension are split over the group, 0: it is whole."""

    name: str
    dimension: int = 0
    width: int = 0


class Checkpoint:
    """The tensors of a folder by name, each read when it is asked for."""

    def __init__(self, folder: Path, field: str, stack: ExitStack) -> None:
        from safetensors import SafetensorError, safe_open

        self._field = field
        self._files: dict[str, Any] = {}
        try:
            index = folder / INDEX
            names = json.loads(index.read_text())["weight_map"].values() if index.is_file() else [SINGLE]
            for name in sorted(set(names)):
                file = stack.enter_context(safe_open(folder / name, framework="pt"))
                self._files |= dict.fromkeys(file.keys(), file)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            allowed = f"a folder with {SINGLE} or {INDEX} and its files ({' '.join(str(error).split())})"
            raise InputError(field, str(folder), allowed) from None

    def read(self, part: Part, group: Group) -> Tensor:
        """Returns a process's share of a tensor; raises InputError when it is absent or has another width."""
        if part.name not in self._files:
            raise InputError(self._field, f"no tensor {part.name}", "a checkpoint that has all of its model's tensors")
        tensor: Tensor = self._files[part.name].get_tensor(part.name)
        if part.width == 0:
            return tensor
        if tensor.shape[part.dimension] != part.width:
            stored = f"{part.name} of shape {list(tensor.shape)}"
            raise InputError(self._field, stored, f"a checkpoint of this config.json, {part.width} in that dimension")
        share = group.share(part.width)
        return tensor[share] if part.dimension == 0 else tensor[:, share]


def _places(model: Model) -> Iterator[tuple[Tensor, list[Part]]]:
    """Yields each weight of a stage with the tensors that it is made of."""
    if model.embedding is not None:
        yield model.embedding, [Part("model.embed_tokens.weight")]
    if model.norm is not None:
        yield model.norm.weight, [Part("model.norm.weight")]
    if model.head is not None and not model.arch.tied:
        yield model.head, [Part("lm_head.weight")]
    for number, layer in zip(model.numbers, model.layers, strict=True):
        assert isinstance(layer, Layer)
        prefix = f"model.layers.{number}"
        yield layer.attention_norm.weight, [Part(f"{prefix}.input_layernorm.weight")]
        yield layer.mlp_norm.weight, [Part(f"{prefix}.post_attention_layernorm.weight")]
        yield from _attention_places(layer.attention, model, f"{prefix}.self_attn")
        if isinstance(layer.mlp, Mlp):
            yield from _mlp_places(layer.mlp, model, f"{prefix}.mlp")
        else:
            yield from _expert_places(layer.mlp, model, prefix)


def _attention_places(attention: Attention, model: Model, prefix: str) -> Iterator[tuple[Tensor, list[Part]]]:
    queries, kv = model.arch.heads * model.arch.head_dim, model.arch.kv_heads * model.arch.head_dim
    inputs = (("q_proj", queries), ("k_proj", kv), ("v_proj", kv))
    yield from _linear(attention.qkv, [Part(f"{prefix}.{name}", 0, width) for name, width in inputs])
    yield from _linear(attention.out, [Part(f"{prefix}.o_proj", 1, queries)])
    for norm, name in ((attention.query_norm, "q_norm"), (attention.key_norm, "k_norm")):
        if isinstance(norm, Norm):
            yield norm.weight, [Part(f"{prefix}.{name}.weight")]


def _mlp_places(mlp: Mlp, model: Model, prefix: str) -> Iterator[tuple[Tensor, list[Part]]]:
    columns = model.arch.intermediate_size
    yield from _linear(mlp.gate_up, [Part(f"{prefix}.{name}", 0, columns) for name in ("gate_proj", "up_proj")])
    yield from _linear(mlp.down, [Part(f"{prefix}.down_proj", 1, columns)])


def _expert_places(mlp: Experts, model: Model, layer: str) -> Iterator[tuple[Tensor, list[Part]]]:
    """Yields the experts' weights: Mixtral calls gate, down and up w1, w2 and w3, under a name of their own."""
    columns = model.arch.intermediate_size
    prefix, gate, down, up = (
        (f"{layer}.block_sparse_moe", "w1", "w2", "w3")
        if model.arch.experts_layout == "mixtral"
        else (f"{layer}.mlp", "gate_proj", "down_proj", "up_proj")
    )
    yield from _linear(mlp.router, [Part(f"{prefix}.gate")])
    for k in range(model.arch.experts):
        yield mlp.gate_up[k], [Part(f"{prefix}.experts.{k}.{name}.weight", 0, columns) for name in (gate, up)]
        yield mlp.down[k], [Part(f"{prefix}.experts.{k}.{down}.weight", 1, columns)]


def _linear(linear: Linear, parts: list[Part]) -> Iterator[tuple[Tensor, list[Part]]]:
    yield linear.weight, [replace(part, name=f"{part.name}.weight") for part in parts]
    if linear.bias is not None:
        # The bias of a projection whose input is split is whole, in one process.
        split = parts[0].dimension == 0
        yield linear.bias, [Part(f"{part.name}.bias", 0, part.width if split else 0) for part in parts]


def _copy(weight: Tensor, part: Tensor, name: str, field: str) -> None:
    if weight.shape != part.shape:
        stored, asked = list(part.shape), list(weight.shape)
        raise InputError(field, f"{name} of shape {stored}", f"a checkpoint of this config.json, shape {asked}")
    weight.copy_(part)
