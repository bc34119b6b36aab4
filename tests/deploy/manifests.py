"""What the files that deploy the service say: objects as kustomize builds them, and the commands of their containers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from search.cli import app
from tests.shared import REPOSITORY

SERVICE = REPOSITORY / "deploy" / "service"
KUSTOMIZE = SERVICE / "kubernetes"
Object = dict[str, Any]


def stated(folder: Path) -> list[Object]:
    """Returns the objects of the files that a kustomization names, without what its components do to them."""
    stage = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[Object] = []
    for name in stage.get("resources", ()):
        path = (folder / name).resolve()
        found += stated(path) if path.is_dir() else [each for each in yaml.safe_load_all(path.read_text()) if each]
    for name in stage.get("components", ()):
        found += stated((folder / name).resolve())
    return found


def built(folder: Path) -> list[Object]:
    """Returns the objects that kustomize builds; skips the test where neither it nor kubectl is installed."""
    if kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    elif kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def templates(each: Object) -> Iterator[Object]:
    """Yields the pod templates of an object, each with `metadata` and `spec`."""
    spec = each.get("spec", {})
    if each["kind"] == "RayCluster":
        yield from (group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))
    elif each["kind"] == "CronJob":
        yield spec["jobTemplate"]["spec"]["template"]
    elif each["kind"] in ("Deployment", "StatefulSet"):
        yield spec["template"]


def containers(each: Object) -> Iterator[tuple[Object, Object]]:
    """Yields the pod and the container, of all containers of an object."""
    for template in templates(each):
        spec = template["spec"]
        yield from ((spec, container) for container in (*spec.get("initContainers", ()), *spec["containers"]))


def accepted(words: list[str]) -> dict[str, Any]:
    """Returns the options of a command line of `trimtab`, parsed by its own parser and not run; raises where it refuses them."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("trimtab", list(words))
    name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    options: dict[str, Any] = found.make_context(name, rest, parent=context).params
    return options
