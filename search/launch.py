"""A trial as something that can be run: a script with an engine's command, and in its head what to expect of it.

The script depends on nothing but what is stored, so that the same study and trial give the same bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from db import queries
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import Store
from deploy.launch import ASSUMED, NAMED, PLACED, launcher, names
from deploy.platforms import ALL, DECODE, PREFILL, Placed, Platform, Pool, platform
from deploy.platforms import names as platform_names
from search import checking
from simulator import label
from simulator.errors import MISSING, Infeasible, InputError
from simulator.expected.words import NOT_VALIDATED, NOT_WORKED_OUT
from simulator.spec.deployment import Resolved

SHOWN_S = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
SHOWN_STATISTICS = ("mean", "p50", "p99")
PORT = 8000
_INDENT = "  "
IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:@-]{0,254}", re.IGNORECASE)


def script(store: Store, study: str, number: int, engine: str, model: str | None = None, port: int = PORT) -> str:
    """Returns a shell script that serves one replica of a trial's deployment on an engine, from the weights `model`.

    Raises InputError for a study, trial or engine that is not there and for a knob that the engine cannot be told, Infeasible
    for a trial that keeps no SLO.
    """
    row, trial, points, deployment = trial_of(store, study, number)
    command = _command(deployment, engine, model, port, "127.0.0.1")
    asked = " ".join((f"trimtab launch {row.id} {number} --engine {engine}", *given(model, port)))
    head = [asked, "", *told(row, trial, points, deployment)]
    comments = "\n".join(f"# {in_a_comment(line)}".rstrip() for line in head)
    return f"#!/bin/sh\n{comments}\nset -eu\nexec {_typed(command)}\n"


@dataclass(frozen=True)
class On:
    """Where replicas run: the platform, the image that has the engine, labels of nodes, replicas by hour of the week with the
    time that one takes to start, and the number of the trial whose replicas read the prompts, where the trial's own are only
    to generate.
    """

    platform: str
    image: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    replicas_by_hour: tuple[int, ...] | None = None
    start_up_s: float = 0.0
    prefill: int | None = None


class _InFull(yaml.SafeDumper):
    """Writes what occurs twice twice: people edit these files, and an anchor would change both places."""

    def ignore_aliases(self, data: Any) -> bool:
        """Returns True: nothing is an alias."""
        return True


def manifest(store: Store, study: str, number: int, engine: str, on: On, model: str | None = None, port: int = PORT) -> str:
    """Returns the YAML that serves a trial's deployment on a platform, all of its replicas, with what to expect in its head.

    Raises as `script` does, and InputError for what the platform cannot be told.
    """
    renderer = platform(on.platform, "--on")
    row, trial, points, deployment = trial_of(store, study, number)
    image = _image(renderer, on, engine)
    command = _command(deployment, engine, model, port, "0.0.0.0")
    asked = [f"trimtab launch {row.id} {number} --engine {engine} --on {on.platform}", *given(model, port), *_placed_as(on)]
    said = [" ".join(asked), "", *told(row, trial, points, deployment)]
    wanted = {ALL: (command, max(on.replicas_by_hour) if on.replicas_by_hour is not None else deployment.replicas)}
    if on.replicas_by_hour is not None:
        said += ["", _by_the_plan(on.replicas_by_hour, deployment.replicas, on.start_up_s)]
    pool = None
    if on.prefill is not None:
        _, other, _, reader = trial_of(store, study, on.prefill)
        pool = Pool(reader, _command(reader, engine, model, port, "0.0.0.0"))
        said += ["", *_apart(other, reader)]
        wanted = {DECODE: wanted[ALL], PREFILL: (pool.command, reader.replicas)}
    name, clock = f"trimtab-{row.id}-{number}", (on.replicas_by_hour, on.start_up_s)
    placed = Placed(name, command, port, image, on.node_selector, *clock, pool, _folder(model, on.image))
    documents = renderer.documents(deployment, placed)
    comments = "\n".join(f"# {in_a_comment(line)}".rstrip() for line in said)
    text = f"{comments}\n{yaml.dump_all(documents, Dumper=_InFull, sort_keys=False, width=120)}"
    if (read := renderer.parse(list(yaml.safe_load_all(text)))) != wanted:
        raise InputError("replicas", wanted, f"what the document of {on.platform} reads back as, {read}")
    return text


def given(model: str | None, port: int) -> Iterator[str]:
    """Yields the options that a command was written with, where they are not the defaults."""
    if model is not None:
        yield f"--model {shlex.quote(model)}"
    if port != PORT:
        yield f"--port {port}"


def _placed_as(on: On) -> Iterator[str]:
    if on.image is not None:
        yield f"--image {on.image}"
    if on.replicas_by_hour is not None:
        yield "--plan PLAN.json"
    yield from (f"--node-selector {name}={value}" for name, value in on.node_selector.items())
    if on.prefill is not None:
        yield f"--prefill {on.prefill}"


def _folder(model: str | None, image: str | None) -> str | None:
    """Returns the node's folder of weights, None for a name or a folder in the image; raises InputError for a relative path."""
    if model is not None and model.startswith((".", "~")):
        raise InputError("--model", model, "a whole path or a name on Hugging Face")
    return model if model is not None and model.startswith("/") and image is None else None


def _image(renderer: Platform, on: On, engine: str) -> str:
    """Returns the image that has the engine, empty where nodes have it; raises InputError for an engine that cannot run there."""
    if engine not in renderer.ENGINES:
        raise InputError("--engine", engine, f"{', '.join(renderer.ENGINES)} on {on.platform}")
    if renderer.IMAGES is None:
        if on.image:
            raise InputError("--image", on.image, f"none on {on.platform}, whose nodes have the engine")
        return ""
    image = on.image or renderer.IMAGES.get(engine)
    if image is None:
        raise InputError("--image", MISSING, f"the image that has {engine}")
    if not IMAGE.fullmatch(image):
        raise InputError("--image", image, "a name such as registry/name:tag")
    return image


def _command(deployment: Resolved, engine: str, model: str | None, port: int, host: str) -> tuple[str, ...]:
    """Returns the command of a replica; raises InputError for a knob that does not come back from it."""
    command = launcher(engine, "--engine").arguments(deployment, model or deployment.model, port, host=host)
    _check_read_back(deployment, engine, command)
    return tuple(command)


def held_to(text: str, engine: str, on: str | None = None) -> list[str]:
    """Returns what a written script or document was held to: the engine's own options, the platform's schema.

    Raises InputError for what the engine or the platform would not take.
    """
    if on is None:
        return [checking.command(engine, command_of(text))]
    found = list(yaml.safe_load_all(text))
    running = platform(on, "--on").parse(found)
    return list(dict.fromkeys(line for command, _ in running.values() for line in checking.placed(on, engine, command, found)))


def command_of(text: str) -> tuple[str, ...]:
    """Returns the command that a written script runs."""
    _, _, command = text.partition("\nexec ")
    return tuple(shlex.split(command.replace("\\\n", "")))


def _apart(trial: TrialRow, deployment: Resolved) -> Iterator[str]:
    """Yields what is to be said of replicas that read the prompts for others."""
    gpus = f"{deployment.gpus_per_replica} {deployment.device} ({label.parallelism(trial.deployment)})"
    yield f"prompts are read by trial {trial.number}: {deployment.replicas} of it, each on {gpus}"
    yield "the figures above are of replicas that do both; handing KV from one pool to another was not simulated"


def _by_the_plan(hours: Sequence[int], scored: int, start_up_s: float) -> str:
    """Returns what is to be said of replicas that a plan decides."""
    low, high = min(hours), max(hours)
    many = (
        f"{low} replicas at every hour"
        if low == high
        else f"{low} to {high} replicas, by the hour of the week in UTC, started {start_up_s:g} s before"
    )
    return f"the plan has {many}; the figures above are of the {scored} that the study scored"


def platforms() -> tuple[str, ...]:
    """Returns the platforms that trials can be launched on."""
    return platform_names()


def file_of(engine: str, on: str | None = None) -> str:
    """Returns the name of the file that is written."""
    return f"{engine}.sh" if on is None else f"{engine}.{platform(on).FILE}"


def write(text: str, folder: Path, name: str) -> Path:
    """Returns the path of the file, written to a folder, which is made; a script can be run."""
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            path.chmod(0o755)
    except OSError as error:
        raise InputError("--out", str(folder), f"a folder that can be written ({error.strerror or error})") from None
    return path


def check(text: str, folder: Path, name: str) -> Path:
    """Returns the path of the file in a folder; raises Infeasible unless it is there and is what would be written now."""
    path = folder / name
    try:
        found = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Infeasible(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    for number, (is_there, would_be) in enumerate(zip(found.splitlines(), text.splitlines(), strict=False), 1):
        if is_there != would_be:
            raise Infeasible(f"{path} is not what would be written: line {number} has {is_there!r}, and would have {would_be!r}")
    if found != text:
        raise Infeasible(f"{path} is not what would be written: it is longer or shorter")
    return path


def engines() -> tuple[str, ...]:
    """Returns the engines that trials can be launched on."""
    return names()


def trial_of(store: Store, study: str, number: int) -> tuple[StudyRow, TrialRow, list[TrialPoint], Resolved]:
    """Returns a study, its trial, the trial's published points and its deployment.

    Raises InputError for a study or trial that is not there, Infeasible for a trial that keeps no SLO.
    """
    row = queries.study(store, study)
    trial = queries.trial(store, row.id, number)
    if trial.state != "done":
        raise Infeasible(f"trial {number} of study {row.id} is {trial.state}: {trial.reason or 'no reason is stored'}")
    points = [found for found in queries.points(store, row.id) if found.trial.id == trial.id]
    return row, trial, points, Resolved.parse(trial.deployment, "deployment")


def _check_read_back(deployment: Resolved, engine: str, command: Sequence[str]) -> None:
    """Raises InputError for a knob that the command does not state as the deployment has it."""
    for knob, value in launcher(engine).parse(command).items():
        if value != getattr(deployment, knob) and knob not in (*NAMED, *PLACED, *ASSUMED):
            raise InputError(knob, getattr(deployment, knob), f"what the command of {engine} reads back as, {value!r}")


def told(row: StudyRow, trial: TrialRow, points: Sequence[TrialPoint], deployment: Resolved) -> Iterator[str]:
    """Yields the lines of the head: what is deployed, how often and behind what, what it costs, what to expect and how surely."""
    document = trial.deployment
    yield f"study {row.name} ({row.id}), trial {trial.number}"
    yield f"{label.model(document)} on {deployment.device}, resolved for {deployment.engine}"
    gpus = f"{deployment.gpus_per_replica} {deployment.device} ({label.parallelism(document)})"
    yield f"a replica runs on {gpus}; {deployment.replicas} of them, behind a router: {deployment.router}"
    if trial.bill is not None:
        rented = f"{trial.bill['instances']}x {trial.bill['instance']} of {trial.bill['provider']}"
        yield f"rents {rented}: {trial.bill['usd_per_hour']:.2f} USD an hour"
    yield ""
    if not points:
        yield "expected: no operating point of this trial was published"
        return
    best = best_of(points)
    yield f"expected at {best.point.rate_rps:.4g} requests per second, of the whole fleet:"
    for line in _metrics(best.point.metrics):
        yield f"{_INDENT}{line}"
    for name, value in best.point.objectives.items():
        yield f"{_INDENT}objective {name}: {'none' if value is None else f'{value:.4g}'}"
    error = best.expected_error
    yield (error or {}).get("text") or f"expected error: {NOT_WORKED_OUT if error is None else NOT_VALIDATED}"


def best_of(points: Sequence[TrialPoint]) -> TrialPoint:
    """Returns the published point of the best rank."""
    return min(points, key=lambda found: (found.point.rank is None, found.point.rank or 0))


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name in SHOWN_S:
        found = metrics.get(name)
        if isinstance(found, Mapping):
            shown = (f"{statistic} {found[statistic]:.4g}" for statistic in SHOWN_STATISTICS if found.get(statistic) is not None)
            yield f"{name}: {', '.join(shown)}"


def in_a_comment(text: str) -> str:
    """Returns text that stays in its comment: a name of a study may hold anything."""
    kept = "".join(" " if character.isspace() else character for character in text)
    return "".join(character for character in kept if character.isprintable())


def _typed(command: Sequence[str]) -> str:
    """Returns a command as a shell reads it, a flag a line."""
    lines: list[list[str]] = [[]]
    for part in command:
        if part.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(part))
    return " \\\n  ".join(" ".join(line) for line in lines)
