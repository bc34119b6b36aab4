"""Whether what is to be run would be taken: the command by its engine, the documents by their platform."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from deploy.check.command import check, table
from deploy.check.documents import documents
from simulator.errors import InputError

# What TensorRT-LLM's file of options has (tensorrt_llm/llmapi/llm_args.py, TorchLlmArgs and KvCacheConfig), as far as it is used.
OPTIONS = {
    "cuda_graph_config": {"batch_sizes", "enable_padding", "max_batch_size"},
    "disable_overlap_scheduler": None,
    "dtype": None,
    "enable_chunked_prefill": None,
    "kv_cache_config": {"dtype", "enable_block_reuse", "free_gpu_memory_fraction", "max_tokens", "tokens_per_block"},
    "scheduler_config": {"capacity_scheduler_policy", "context_chunking_policy"},
}


def command(engine: str, arguments: Sequence[str]) -> str:
    """Returns what the command of an engine was held to; raises InputError for an option or value that it would not take."""
    if engine == "torch":
        return _ours(arguments)
    found = table(engine)
    if engine == "tensorrt_llm":
        _check_options(json.loads(arguments[4]))
        arguments = arguments[5:]
    return f"{check(found, arguments)} options among {found}"


def placed(platform: str, engine: str, command_line: Sequence[str], found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields what the documents of a platform were held to, and the command in them; raises as `command` does."""
    if platform in ("kubernetes", "compose"):
        yield command(engine, command_line)
    yield from documents(platform, engine, found)


def _ours(arguments: Sequence[str]) -> str:
    from profiler.engine.settings import Settings
    from search.assigned import assigned

    knobs = assigned([value for flag, value in pairwise(arguments) if flag == "--set"])
    Settings.parse(knobs, "--set")
    return f"{len(knobs)} settings as `trimtab engine serve` takes them"


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in OPTIONS:
            raise InputError(name, value, ", ".join(OPTIONS))
        for key in value if isinstance(value, dict) else ():
            if key not in (OPTIONS[name] or ()):
                raise InputError(f"{name}.{key}", value[key], ", ".join(sorted(OPTIONS[name] or ())))
