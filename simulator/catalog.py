"""The catalog: the name in a request is the name of a file, for data and for code alike.

Data of a user's own, the processor of a machine or a model in the house, lies in the same layout (devices/NAME.yaml,
models/ORGANISATION/NAME.yaml, ...) in a folder of the user: TRIMTAB_CATALOG, else trimtab/catalog in the XDG data folder. A
name that ships with Trimtab means the same everywhere: a user's file of that name is not read.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from simulator.errors import unknown_name
from simulator.spec.accuracy import KnownErrors
from simulator.spec.base import Spec, read_yaml
from simulator.spec.calibration import Calibration
from simulator.spec.device import Device
from simulator.spec.engine import EngineProfile
from simulator.spec.feature import Feature
from simulator.spec.model import Model
from simulator.spec.prices import PriceBook
from simulator.spec.workload import Preset

ROOT = Path(__file__).parent
DATA: dict[str, type[Spec]] = {
    "accuracy": KnownErrors,
    "calibration": Calibration,
    "devices": Device,
    "engines": EngineProfile,
    "features": Feature,
    "models": Model,
    "prices": PriceBook,
    "workloads": Preset,
}
CODE: dict[str, str] = {
    "sets": "simulator.accuracy",
    "schedulers": "simulator.schedulers",
    "routers": "simulator.routers",
    "arrivals": "simulator.arrivals",
    "sources": "simulator.optime.sources",
    "families": "simulator.optime.families",
}
Noun = TypeVar("Noun", bound=Spec)


def user_folder() -> Path:
    """Returns where data of this user lies: TRIMTAB_CATALOG, else trimtab/catalog in the XDG data folder."""
    stated = os.environ.get("TRIMTAB_CATALOG")
    if stated:
        return Path(stated)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "trimtab" / "catalog"


def names(kind: str) -> tuple[str, ...]:
    """Returns the sorted names of one kind: those of data files (`devices`, ...) or of modules (`schedulers`, ...)."""
    return tuple(_data(kind, user_folder())) if kind in DATA else _modules(kind)


@cache
def _data(kind: str, user: Path) -> dict[str, Path]:
    """Returns the data files of one kind by name, in order."""
    found: dict[str, Path] = {}
    for folder in (ROOT / "data" / kind, user / kind):
        for path in _files(folder, ".yaml"):
            found.setdefault(path.relative_to(folder).as_posix().removesuffix(".yaml"), path)
    return dict(sorted(found.items()))


@cache
def _modules(kind: str) -> tuple[str, ...]:
    folder = ROOT.parent.joinpath(*CODE[kind].split("."))
    return tuple(sorted(path.stem for path in _files(folder, ".py") if not path.stem.startswith("_")))


def _files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.rglob(f"*{suffix}") if path.is_file()]


@cache
def _load(kind: str, name: str, path: Path) -> Spec:
    return DATA[kind].parse(read_yaml(path), f"{kind}/{name}")


def load(kind: str, name: str, cls: type[Noun], field: str) -> Noun:
    """Returns the noun called `name`; raises InputError under `field`, listing the choices, for an unknown one."""
    if name not in names(kind):
        raise unknown_name(field, name, names(kind))
    noun = _load(kind, name, _data(kind, user_folder())[name])
    assert isinstance(noun, cls), f"{kind} holds {type(noun).__name__}"
    return noun


def module(kind: str, name: str, field: str) -> ModuleType:
    """Returns the module that implements `name`; raises InputError under `field`, listing the choices."""
    if name not in names(kind):
        raise unknown_name(field, name, names(kind))
    return importlib.import_module(f"{CODE[kind]}.{name}")


def device(name: str, field: str = "device") -> Device:
    """Returns the GPU SKU called `name`."""
    return load("devices", name, Device, field)


def model(name: str, field: str = "model") -> Model:
    """Returns the model with that Hugging Face id."""
    return load("models", name, Model, field)


def engine(name: str, field: str = "engine") -> EngineProfile:
    """Returns the profile of an engine and version."""
    return load("engines", name, EngineProfile, field)


def calibration(name: str, field: str = "calibration") -> Calibration:
    """Returns the achieved rates of the class of devices called `name`."""
    return load("calibration", name, Calibration, field)


def preset(name: str, field: str = "workload.preset") -> Preset:
    """Returns the measured workload called `name`."""
    return load("workloads", name, Preset, field)


def price_book(name: str, base: Path | None = None, field: str = "prices") -> PriceBook:
    """Returns the price book of that name, or the one in the YAML file that `name` is the path of, from `base`."""
    if name not in names("prices") and name.endswith((".yaml", ".yml")):
        return PriceBook.parse(read_yaml((base or Path()) / name, field), field)
    return load("prices", name, PriceBook, field)
