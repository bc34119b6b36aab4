"""What tests of every room share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def data_dir(part: str = "") -> Path:
    """Returns the folder of recorded and measured data, or a part of it; skips the test where it is absent."""
    stated = os.environ.get("TRIMTAB_DATA")
    folder = (Path(stated) if stated else REPOSITORY.parent / "shared" / "data") / part
    if not folder.is_dir():
        pytest.skip(f"no data: {part or 'its folder'} is neither in TRIMTAB_DATA nor in ../shared/data beside the repository")
    return folder
