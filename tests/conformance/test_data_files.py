"""Every file of simulator/data parses, is found by its name, keeps every field in a round trip and says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.base import Spec, read_yaml

FOLDER = catalog.ROOT / "data"
FILES = sorted(path for kind in catalog.DATA for path in (FOLDER / kind).rglob("*") if path.is_file())


def kind_of(path: Path) -> str:
    """Returns the folder of a data file, which says what it describes."""
    return path.relative_to(FOLDER).parts[0]


def parsed(path: Path) -> Spec:
    """Returns what the file describes."""
    return catalog.DATA[kind_of(path)].parse(read_yaml(path), path.name)


@pytest.mark.parametrize("kind", catalog.DATA)
def test_there_is_something_of_every_kind(kind: str) -> None:
    assert any(kind_of(path) == kind for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_it_parses_under_its_name(path: Path) -> None:
    assert path.suffix == ".yaml", "only YAML files are found"
    kind = kind_of(path)
    name = path.relative_to(FOLDER / kind).as_posix().removesuffix(".yaml")
    assert name in catalog.names(kind)
    found = parsed(path)
    assert catalog.load(kind, name, catalog.DATA[kind], kind) == found
    assert type(found).model_validate_json(found.canonical(), strict=False) == found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_it_says_where_its_figures_are_from(path: Path) -> None:
    sources = getattr(parsed(path), "sources", {})
    assert sources and all(key.strip() and len(text) >= 15 for key, text in sources.items()), sources


def test_a_file_without_sources_is_seen(tmp_path: Path) -> None:
    path = FOLDER / "models" / "Qwen" / "Qwen3-8B.yaml"
    fields = read_yaml(path)
    model = catalog.DATA["models"]
    model.parse(fields)
    with pytest.raises(InputError, match="sources"):
        model.parse({**fields, "sources": {}})
    with pytest.raises(InputError, match="unknown field"):
        model.parse({**fields, "colour": "blue"})
