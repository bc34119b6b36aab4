"""Scripts and figures go out compressed to whom that suits; what REST answers does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from search.server import build


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_scripts_are_compressed_for_whom_that_suits(tmp_path: Path, encoding: str) -> None:
    with TestClient(build(str(tmp_path / "studies.db"))) as web:
        page = web.get("/").text
        script = page.partition("assets/app.js")[2].partition('"')[0]
        found = web.get(f"/assets/app.js{script}", headers={"Accept-Encoding": encoding})
        assert found.status_code == 200 and "trimtab" in found.text
        assert found.headers.get("content-encoding", "identity") == encoding
        api = web.get("/api/v1/openapi.json", headers={"Accept-Encoding": encoding})
        assert "content-encoding" not in api.headers
        assert api.headers["x-content-type-options"] == found.headers["x-content-type-options"] == "nosniff"
