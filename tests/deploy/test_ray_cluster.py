"""A worker beside the head of a Ray cluster: the head as KubeRay starts it, the worker by the script of its container."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from db import events, queries
from db.session import open_store
from search import service
from tests.api.asking import REQUEST, until
from tests.databases import postgresql, postgresql_url
from tests.deploy.manifests import KUSTOMIZE, containers, stated
from tests.shared import REPOSITORY

__all__ = ["postgresql", "postgresql_url"]
pytestmark = pytest.mark.slow
[CLUSTER] = [each for each in stated(KUSTOMIZE / "components" / "ray") if each["kind"] == "RayCluster"]
BIN = Path(sys.executable).parent
# A node compiles the kernels for its first trial.
START_S, COMPILED_S = 240, 600
COUNTING = """
import sys, time
from search.executor.ray import RayExecutor
with RayExecutor(sys.argv[1]) as executor:
    print(executor.workers, flush=True)
    for _ in executor.map_unordered(time.sleep, [0.2] * 5000, stop=lambda: executor.workers > 1):
        pass
    print(executor.workers, flush=True)
"""


def free() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Nodes of Ray as processes of their own, which end with the test."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder, self.port = stack, folder, free()
        self.address = f"127.0.0.1:{self.port}"
        # Sockets have to have short paths.
        self.sockets = tempfile.mkdtemp(prefix="r")
        stack.callback(shutil.rmtree, self.sockets, ignore_errors=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(),
        }

    def run(self, name: str, command: list[str], **variables: str) -> Path:
        """Starts a process that ends with the test; returns its log."""
        path = self.folder / f"{name}.log"
        log = self.stack.enter_context(path.open("w"))
        process = subprocess.Popen(command, env={**self.environment, **variables}, cwd=self.folder, stdout=log, stderr=log)
        self.stack.callback(process.wait, 60)
        self.stack.callback(process.terminate)
        return path

    def node(self, name: str, parameters: dict[str, str], *where: str) -> str:
        """Starts a node as KubeRay's operator does; returns where its health is asked."""
        given = [f"--{option}" if value == "true" else f"--{option}={value}" for option, value in parameters.items()]
        agent = free()
        ours = ["--block", f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={free()}"]
        self.run(name, [str(BIN / "ray"), "start", *where, *given, *ours, "--object-store-memory=100000000"])
        return f"http://127.0.0.1:{agent}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yields the head of a cluster, which answers as its probes ask."""
    head = CLUSTER["spec"]["headGroupSpec"]
    with ExitStack() as stack:
        made = Cluster(stack, tmp_path)
        url = made.node(
            "head",
            head["rayStartParams"],
            "--head",
            "--include-dashboard=false",
            f"--port={made.port}",
            f"--temp-dir={made.sockets}",
        )
        container = head["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            until(lambda path=path: healthy(url + path), START_S, (tmp_path / "head.log").read_text())  # type: ignore[misc]
        yield made


def healthy(url: str) -> bool:
    """Returns whether a probe succeeds; it has no token."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_worker_beside_the_head_runs_studies_on_the_cluster(cluster: Cluster, postgresql_url: str) -> None:
    [worker] = [each for _, each in containers(CLUSTER) if each["name"] == "worker"]
    script = worker["args"][0].replace("127.0.0.1:6379", cluster.address)
    assert script.count(cluster.address) == 1
    script = script.replace("exec trimtab ", f"exec {sys.executable} -m search.cli ")
    cluster.run("worker", [*worker["command"], script], RAY_ADDRESS=cluster.address, TRIMTAB_DB=postgresql_url)
    with open_store(postgresql_url) as store:
        study = service.submit(store, REQUEST).study.id
        ended = ("done", "failed", "infeasible")
        until(lambda: queries.study(store, study).state in ended, COMPILED_S, "the study does not end")
        assert queries.study(store, study).state == "done", (cluster.folder / "worker.log").read_text()
        told = [str(event) for event in events.since(store, study, 0)]
        assert any("ray (1 at a time): a Ray address is configured" in each for each in told), told


def test_nodes_that_join_a_study_under_way_are_used(cluster: Cluster) -> None:
    log = cluster.run("driver", [sys.executable, "-c", COUNTING, cluster.address])
    until(lambda: log.read_text().startswith("1\n"), START_S, "the driver does not start")
    [group] = CLUSTER["spec"]["workerGroupSpecs"]
    cluster.node("node", {**group["rayStartParams"], "num-cpus": "2"}, f"--address={cluster.address}")
    until(lambda: log.read_text().splitlines()[-1:] == ["3"], START_S, "the node is not seen")
