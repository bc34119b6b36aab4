"""How kernels are compiled: cached on disk under their digest, without the GIL, with or without bounds checks.

numba's own cache neither notices an edit in a sibling file nor keys on the bounds-check flag, so the folder's name does. It keys
on where a source lies; here a copy elsewhere, of another checkout or on a node of a cluster, finds what was compiled of its like.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import njit
from numba.core.caching import UserProvidedCacheLocator
from numba.core.types import WrapperAddressProtocol
from numba.experimental.function_type import _get_wrapper_address

from simulator.kernel.digest import ROOT, kernel_digest

Function = TypeVar("Function", bound=Callable[..., Any])
BOUNDS_CHECK = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")
_CONFIG = cast(Any, numba.config)
INTERPRETED = bool(_CONFIG.DISABLE_JIT)


def cache_folder() -> Path:
    """Returns the first writable folder for compiled code: TRIMTAB_CACHE_DIR, the user's cache, a temporary one."""
    name = f"kernel-{kernel_digest()}{'-checked' if BOUNDS_CHECK else ''}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    stated = os.environ.get("TRIMTAB_CACHE_DIR")
    for base in [Path(stated)] if stated else [Path(home) / "trimtab"]:
        try:
            (base / name).mkdir(parents=True, exist_ok=True)
            if os.access(base / name, os.W_OK):
                return base / name
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="trimtab-"))


class Sources(UserProvidedCacheLocator):
    """Where numba keeps what it compiles of the simulator's files: by the room that they are in, wherever that lies."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """Returns the place of a function, None for one of other files."""
        return cast(Any, super()).from_function(py_func, py_file) if ROOT in Path(py_file).resolve().parents else None

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """Returns the folder's name."""
        return Path(py_file).parent.name


if not INTERPRETED:
    _CONFIG.CACHE_DIR = str(cache_folder())
    _CONFIG.CACHE_LOCATOR_CLASSES = f"{__name__}.Sources,UserProvidedCacheLocator"


# Kernels allocate nothing, and counting references to arrays would be most of their work: hence no _nrt.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": BOUNDS_CHECK, "_nrt": False}
# A helper lives inside the kernels that call it: it is neither called from Python nor kept by itself, which would double
# the time to compile.
HELPER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_SIGNATURES: dict[Any, Any] = {}
_ENTRIES: dict[Any, Any] = {}
_ADDRESSES: dict[Any, Any] = {}
_COMPILING = threading.Lock()


def kernel(signature: Any) -> Callable[[Function], Function]:
    """Returns the decorator of a function with one signature, which `ready` compiles; helpers may follow it in the file."""

    def declare(function: Function) -> Function:
        if INTERPRETED:
            return function
        compiled = cast(Function, njit(cache=True, **OPTIONS)(function))
        _SIGNATURES[compiled] = signature
        return compiled

    return declare


def ready(function: Function) -> Function:
    """Returns a kernel compiled for its signature, from the cache where it is there."""
    if not INTERPRETED and not cast(Any, function).signatures:
        with _COMPILING:
            if not cast(Any, function).signatures:
                cast(Any, function).compile(_SIGNATURES[function])
                # Else a call would compile anew for the very policies it is given, in every process.
                cast(Any, function).disable_compile()
    return function


def entry(function: Function) -> Function:
    """Returns a kernel as Python calls it without asking again, each time, which types it was compiled for."""
    if INTERPRETED:
        return function
    if function not in _ENTRIES:
        (compiled,) = cast(Any, ready(function)).overloads.values()
        _ENTRIES[function] = compiled.entry_point
    return cast(Function, _ENTRIES[function])


class Address(WrapperAddressProtocol):
    """A compiled function as other compiled code calls it: numba would look for its address in every call."""

    def __init__(self, function: Any) -> None:
        # What the address belongs to must not be collected.
        self._function, self._signature = function, _SIGNATURES[function]
        self._address = int(cast(Any, _get_wrapper_address)(ready(function), self._signature))

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """Returns the signature, as numba asks for it."""
        return self._signature


def passed(function: Any) -> Any:
    """Returns a kernel as an argument of another one."""
    if INTERPRETED:
        return function
    if BOUNDS_CHECK:
        # By its address alone, what a function raises is not passed on.
        return ready(function)
    if function not in _ADDRESSES:
        _ADDRESSES[function] = Address(function)
    return _ADDRESSES[function]


def inner(function: Function) -> Function:
    """Compiles a helper of kernels, for every set of types that they call it with."""
    return function if INTERPRETED else cast(Function, njit(**HELPER)(function))


def merged(function: Function) -> Function:
    """Compiles a helper that is given the whole world into its caller: a call would copy all of its arrays."""
    return function if INTERPRETED else cast(Function, njit(forceinline=True, **HELPER)(function))
