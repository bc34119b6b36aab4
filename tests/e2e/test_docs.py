"""Documentation: every YAML example is read as a user's file would be, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.request import SearchRequest
from simulator.draw import draw
from simulator.resolve import resolve
from simulator.scenario import Scenario, anchored

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEPLOYMENT = {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}
TRACE = re.compile(r"```csv\n(.*?)```", re.DOTALL)


def examples() -> list[Any]:
    """Returns every YAML example with its page and number."""
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            found.append(pytest.param(page, yaml.safe_load(text), id=f"{page.stem}-{number}"))
    return found


@pytest.mark.parametrize(("page", "data"), examples())
def test_an_example_can_be_run(page: Path, data: dict[str, Any], tmp_path: Path) -> None:
    if "space" in data:
        request = SearchRequest.parse(data)
        assert next(request.build_space().walk(), None) is not None
        return
    for text in TRACE.findall(page.read_text(encoding="utf-8")):
        (tmp_path / "requests.csv").write_text(text)
    filled = {"deployment": DEPLOYMENT, "workload": {"preset": "chat"}, **data}
    scenario = Scenario.parse(anchored(filled, tmp_path))
    resolve(scenario.deployment)
    assert len(draw(scenario.workload, 20, 0)) == 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
