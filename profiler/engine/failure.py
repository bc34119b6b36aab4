"""What is told when an engine cannot start or go on: memory that ran out, or anything else that ended it."""

from __future__ import annotations

import os

import torch

from simulator.errors import TrimtabError

# What torch's allocator of host memory says; it has no class of its own for that.
_HOST_WORDS = ("not enough memory", "can't allocate memory")


class EngineFailed(TrimtabError):
    """An engine that ended by itself, with the reason in one line."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether the host's or the device's memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_WORDS)


def free_bytes(device: torch.device) -> int:
    """Returns the bytes that are free on a device, those included that torch holds for later; of the host, the free ones."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def reason(error: BaseException, device: torch.device) -> str:
    """Returns in one line why an engine ended."""
    told = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"the engine ran out of memory on {device} ({told}); less for KV or steps leaves more: " + (
            "gpu_memory_utilization, num_gpu_blocks_override, max_num_batched_tokens"
        )
    return f"the engine has stopped ({type(error).__name__}: {told})"
