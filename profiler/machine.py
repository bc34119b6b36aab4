"""This machine's device: where tensors lie, what is in them, how caches are flushed, what is running."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
from functools import cached_property

import torch

from simulator.errors import InputError
from simulator.spec.device import Device, Dtype

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_CACHE_BYTES = 64 << 20
# Of a GPU's free memory tensors may take most; a CPU's is also everybody else's.
SHARE_OF_MEMORY = {"cuda": 0.8, "cpu": 0.4}
POOL = 1 << 20


def is_here(device: Device) -> bool:
    """Returns whether this machine has a device of a data sheet's vendor; no memory of a GPU is taken for it."""
    return device.vendor == "cpu" or torch.cuda.is_available()


class Machine:
    """The CPU or one GPU of this machine."""

    def __init__(self, kind: str, index: int = 0, device: Device | None = None) -> None:
        """Takes the processor (`cpu`) or a GPU (`cuda`); `device` is its data sheet."""
        self.kind = kind
        self.torch_device = torch.device(kind, index) if kind == "cuda" else torch.device("cpu")
        self.sheet = device
        self.attention: str | None = None
        if kind == "cuda":
            torch.cuda.set_device(self.torch_device)
        self._generator = torch.Generator(device=self.torch_device).manual_seed(0)

    @classmethod
    def of(cls, device: Device, name: str) -> Machine:
        """Returns the device that a catalog entry describes; raises InputError when this machine has none of the vendor."""
        if device.vendor == "cpu":
            return cls("cpu", device=device)
        if not is_here(device):
            raise InputError("--device", name, "a device of vendor cpu, since torch sees no GPU here; see docs/operator-times.md")
        return cls("cuda", device=device)

    @classmethod
    def here(cls) -> Machine:
        """Returns this machine's first GPU, or its processor without one."""
        return cls("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.kind == "cuda"

    @cached_property
    def cache_bytes(self) -> int:
        """The last level of cache."""
        if self.cuda:
            return int(torch.cuda.get_device_properties(self.torch_device).L2_cache_size)
        stated = self.sheet.l2_bytes if self.sheet else None
        try:
            found = os.sysconf("SC_LEVEL3_CACHE_SIZE")
        except (ValueError, OSError):
            found = 0
        return max(stated or 0, found) or DEFAULT_CACHE_BYTES

    @cached_property
    def _evicting(self) -> torch.Tensor:
        # On a GPU four times its cache, so that the write also hides the launch of what is timed after it.
        return torch.ones((4 if self.cuda else 2) * self.cache_bytes // 4, dtype=torch.float32, device=self.torch_device)

    def flush(self) -> None:
        """Fills the caches with something else: written on a GPU, read on a CPU, where lines to be written back would count."""
        if self.cuda:
            self._evicting.zero_()
        else:
            self._evicting.sum()

    def wait(self) -> None:
        """Waits until all that was launched is done."""
        if self.cuda:
            torch.cuda.synchronize(self.torch_device)

    @property
    def free_bytes(self) -> float:
        """What tensors may take."""
        if self.cuda:
            return SHARE_OF_MEMORY["cuda"] * torch.cuda.mem_get_info(self.torch_device)[0]
        return SHARE_OF_MEMORY["cpu"] * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    @property
    def memory_bytes(self) -> int:
        """All of its memory."""
        if self.cuda:
            return int(torch.cuda.get_device_properties(self.torch_device).total_memory)
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    # Tensors

    def random(self, *shape: int, dtype: Dtype = "float32") -> torch.Tensor:
        """Returns normal numbers of variance 1 / 16; from 2^20 elements on they repeat."""
        count, pool = math.prod(shape), self._pool(dtype)
        if count <= POOL:
            return pool[:count].clone().view(shape)
        filled = torch.empty(count, dtype=pool.dtype, device=self.torch_device)
        whole = count // POOL * POOL
        filled[:whole].view(-1, POOL).copy_(pool)
        filled[whole:].copy_(pool[: count - whole])
        return filled.view(shape)

    def _pool(self, dtype: Dtype) -> torch.Tensor:
        pools = self.__dict__.setdefault("pools", {})
        if dtype not in pools:
            drawn = torch.randn(POOL, generator=self._generator, device=self.torch_device) / 4
            pools[dtype] = drawn.to(DTYPES[dtype])
        found: torch.Tensor = pools[dtype]
        return found

    def empty(self, *shape: int, dtype: Dtype) -> torch.Tensor:
        """Returns a tensor that something will be written to."""
        return torch.zeros(shape, dtype=DTYPES[dtype], device=self.torch_device)

    def below(self, high: int, count: int) -> torch.Tensor:
        """Returns whole numbers from 0 up to `high`, which it leaves out."""
        return torch.randint(high, (count,), generator=self._generator, device=self.torch_device)

    # What is told of it

    def about(self) -> dict[str, object]:
        """Returns names and versions: what must not change within one profile."""
        told: dict[str, object] = {"torch": torch.__version__}
        if not self.cuda:
            return told | {"threads": torch.get_num_threads(), "cpu": _cpu_name()}
        told |= {"gpu": torch.cuda.get_device_name(self.torch_device), "cuda": str(torch.version.cuda)}
        driver = self._nvidia_smi("driver_version")
        return told | ({"driver": driver} if driver else {})

    def state(self) -> dict[str, object]:
        """Returns the clock of the multiprocessors and the power now, where nvidia-smi tells them."""
        read = {"clock_mhz": self._nvidia_smi("clocks.sm"), "power_w": self._nvidia_smi("power.draw")} if self.cuda else {}
        return {name: float(value) for name, value in read.items() if value is not None and _is_number(value)}

    def _nvidia_smi(self, what: str) -> str | None:
        command = shutil.which("nvidia-smi")
        if command is None:
            return None
        asked = [command, f"--query-gpu={what}", "--format=csv,noheader,nounits", f"--id={self.torch_device.index or 0}"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None


def fused(function: object) -> object:
    """Returns a function compiled to one kernel, as engines have it, where Triton is installed and a GPU is there."""
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is not None:
        return torch.compile(function, dynamic=True)  # type: ignore[call-overload]
    return function


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else "unknown"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
