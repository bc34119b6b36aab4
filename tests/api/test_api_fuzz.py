"""The whole of OpenAPI, by generated requests against a running service: no 5xx, no status or body that is not documented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search import service
from search.request import SearchRequest
from tests.api.asking import REQUEST, Service

CASES, RUN_S, MOST_S = 2_000, 45, 600
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
# The study that is in the store, by its name: what deletes and cancels takes whole ids alone, and leaves it.
CONFIG = """
[parameters]
"path.study" = ["small", "s-7f3a9c21"]
"""


@pytest.mark.slow
def test_no_generated_request_fails_the_service(
    serve: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.run_search(SearchRequest.parse(REQUEST), db=str(tmp_path / "studies.db"), executor="inline")
    for rate in ("PER_KEY", "PER_ADDRESS", "FAILURES"):
        monkeypatch.setenv(f"TRIMTAB_RATE_{rate}", "1000000/second")
    started = serve("--only", "api")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    cases, seed, begun = 0, 1, time.monotonic()
    while cases < CASES:
        assert time.monotonic() - begun < MOST_S, f"only {cases} cases in {MOST_S} s"
        cases += _run(started.url, config, seed)
        seed += 1
    print(f"{cases} cases in {time.monotonic() - begun:.0f} s")


def _run(url: str, config: Path, seed: int) -> int:
    """Returns how many requests were made, all of them answered as documented."""
    # A stream of events does not end by itself, and has tests of its own.
    options = ["--exclude-path-regex", "/events$", "--max-time", str(RUN_S), "--checks", CHECKS, "--seed", str(seed)]
    # One worker: CPython 3.11 may fail to parse source in several threads at once, which Hypothesis does.
    phases = ["--phases", "examples,coverage,fuzzing", "--workers", "1", "--request-timeout", "60", "--no-color"]
    program = [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "--config-file", str(config)]
    command = [*program, "run", f"{url}/api/v1/openapi.json", *options, *phases]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=config.parent, env={**os.environ, "COLUMNS": "200"}, timeout=180
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found = re.search(r"([\d,]+) generated, ([\d,]+) passed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    assert found[1] == found[2], done.stdout[-6000:]
    return int(found[1].replace(",", ""))
