"""The service's own deployment and the pipelines: linted with real tools, and their commands run here as plain processes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from search.cli import main
from search.client import Client
from tests.api.asking import REQUEST, until
from tests.databases import postgresql, postgresql_url
from tests.shared import REPOSITORY

__all__ = ["postgresql", "postgresql_url"]
SERVICE = REPOSITORY / "deploy" / "service"
WORKFLOWS = REPOSITORY / ".github" / "workflows"
GITLAB = REPOSITORY / ".gitlab-ci.yml"
BIN = Path(sys.executable).parent


def checked(*command: str) -> None:
    """Runs a tool of this environment; fails with what it says."""
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_file_has_no_finding() -> None:
    checked("hadolint", str(SERVICE / "Dockerfile"))


@pytest.mark.parametrize("reads", [0, 1])
def test_compose_keeps_a_dump_from_its_start_that_can_be_read(reads: int, tmp_path: Path) -> None:
    [script] = yaml.safe_load((SERVICE / "compose.yaml").read_text())["services"]["backup"]["command"]
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in range(1, 21 if reads == 0 else 15):
        (backups / f"2026-01-{day:02d}.dump").touch()
    fakes = {"pg_dump": 'for last; do :; done; touch "${last#--file=}"', "pg_restore": f"exit {reads}", "sleep": "kill $PPID"}
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    told = script.replace("$$", "$").replace("/backups", str(backups))
    subprocess.run(["sh", "-c", told], env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}, check=False, timeout=60)
    found = sorted(backups.glob("*.dump"))
    assert len(found) == 14 and (found[-1].name > "2026-01-20.dump") == (reads == 0)


def test_a_container_file_with_a_fault_has_one(tmp_path: Path) -> None:
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text(
        (SERVICE / "Dockerfile").read_text().replace("--no-cache-dir ", "").replace("python:3.11-slim-bookworm", "python")
    )
    with pytest.raises(AssertionError, match="DL3006"):
        checked("hadolint", str(spoilt))


@pytest.mark.parametrize(
    ("schema", "file", "more"),
    [
        ("vendor.compose-spec", SERVICE / "compose.yaml", ()),
        ("vendor.github-workflows", WORKFLOWS / "ci.yml", ()),
        ("vendor.github-workflows", WORKFLOWS / "nightly.yml", ()),
        ("vendor.gitlab-ci", GITLAB, ("--data-transform", "gitlab-ci")),
    ],
)
def test_files_are_as_their_schemas_say(schema: str, file: Path, more: tuple[str, ...]) -> None:
    checked("check-jsonschema", "--builtin-schema", schema, *more, str(file))


def test_the_image_runs_without_root_and_has_every_room() -> None:
    text = (SERVICE / "Dockerfile").read_text()
    last = text.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001$", last, re.M)
    ignored = (SERVICE / "Dockerfile.dockerignore").read_text()
    for room in ("simulator", "profiler", "search", "db", "dashboard", "deploy"):
        assert f"COPY {room} {room}" in text and f"!{room}\n" in ignored


def compose() -> dict[str, Any]:
    """Returns the services."""
    found: dict[str, Any] = yaml.safe_load((SERVICE / "compose.yaml").read_text())["services"]
    return found


def test_every_service_of_ours_is_read_only_and_unprivileged() -> None:
    ours = {name: each for name, each in compose().items() if each["image"] == "trimtab"}
    assert ours.keys() == {"api", "dashboard", "worker", "ray"}
    for each in ours.values():
        assert each["read_only"] and each["cap_drop"] == ["ALL"] and each["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", ()))
    for name in ("worker", "ray"):
        variables = ours[name]["environment"]
        assert variables["RAY_AUTH_MODE"] == "token" and variables["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


@pytest.fixture
def services(postgresql_url: str, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Yields the ports of the services of the compose file, run as processes with the same commands on a PostgreSQL."""
    ports: dict[str, int] = {}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TRIMTAB_DB": postgresql_url}
    with ExitStack() as stack:
        for name in ("api", "dashboard", "worker"):
            words = compose()[name]["command"]
            if name == "worker":
                # The head of Ray is another program; what follows it is the worker.
                words = words[0].rpartition("exec trimtab ")[2].split()
            else:
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    ports[name] = free.getsockname()[1]
                words = [str(ports[name]) if word == "8321" else word for word in words]
            log = stack.enter_context((tmp_path / f"{name}.log").open("w"))
            command = [sys.executable, "-m", "search.cli", *words]
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        for name, port in ports.items():
            until(lambda port=port: answers(port), 90, f"{name} does not answer: {(tmp_path / f'{name}.log').read_text()}")  # type: ignore[misc]
        yield ports


def answers(port: int) -> bool:
    """Returns whether a service is healthy."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_the_services_serve_a_study_from_submit_to_answer(
    services: dict[str, int], postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "create", "smoke", "--scope", "submit", "--db", postgresql_url, "--json"]) == 0
    key = yaml.safe_load(capsys.readouterr().out)["key"]
    with Client(f"http://127.0.0.1:{services['api']}", api_key=key) as client:
        study = client.submit(REQUEST).id
        assert [event.data.get("state") for event in client.events(study)][-1] == "done"
        assert client.frontier(study)["items"]
    page = httpx.get(f"http://127.0.0.1:{services['dashboard']}/", headers={"Accept": "text/html"})
    assert page.status_code == 303 and page.headers["location"].startswith("/login")
    seen = httpx.get(f"http://127.0.0.1:{services['dashboard']}/", headers={"Authorization": f"Bearer {key}"})
    assert seen.status_code == 200 and "Trimtab" in seen.text


def steps(file: Path, job: str) -> dict[str, str]:
    """Returns the commands of a workflow's steps by name."""
    found = yaml.safe_load(file.read_text())["jobs"][job]["steps"]
    return {each["name"]: each["run"] for each in found if "run" in each}


def play(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a step as a runner does: by bash, ended by the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GITHUB_STEP_SUMMARY": str(folder / "said.md")}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_nightly_workflow_runs_from_its_file(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    night = steps(WORKFLOWS / "nightly.yml", "sweep")
    assert night["Install"] == "make install"
    done = play(night["Sweep"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "junit.xml").read_text().startswith("<?xml")
    assert play(night["Summary"], tmp_path).returncode == 0
    assert (tmp_path / "said.md").read_text() == (tmp_path / "build" / "summary.md").read_text() != ""
    # The other pipeline runs the same.
    script = yaml.safe_load(GITLAB.read_text())["nightly"]["script"]
    assert "\n".join(script[1:]) == night["Sweep"].strip()


def test_both_pipelines_run_what_must_hold_before_a_change_lands() -> None:
    assert ".ci/run" in steps(WORKFLOWS / "ci.yml", "check").values()
    assert yaml.safe_load(GITLAB.read_text())["check"]["script"] == [".ci/run"]
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
