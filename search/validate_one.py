"""Validation of one scenario: nothing is stored, but in a file of its own where one is named, from which it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.validating import Load, Run
from search.validation import SEED, Server, item, job_of, one_replica, result_of, run_job
from simulator.draw import draw
from simulator.errors import Infeasible, InputError
from simulator.resolve import resolve
from simulator.run import SATURATION_REQUESTS, prepare, saturated_rate
from simulator.scenario import Scenario

# A load takes longer than its arrivals: the last requests are served after they have come.
DRAIN = 1.1


@dataclass(frozen=True)
class Keep:
    """Where comparisons are kept as they end; those that are there are not run again, but for faults with `again`.

    Only loads that fit into `budget_s` are begun (None: all).
    """

    path: Path | None = None
    again: bool = False
    budget_s: float | None = None


def validate_scenario(
    scenario: Scenario, server: Server, shares: Sequence[float], requests: int, keep: Keep | None = None
) -> dict[str, Any]:
    """Returns one comparison a load: shares of the rate that saturates one replica or, with users, the users' own pace.

    `finished` is False, and `left` names the loads, where the budget did not suffice for all of them.
    """
    keep = keep or Keep()
    deployment = one_replica(resolve(scenario.deployment))
    prepared = prepare(deployment, scenario.profiles)
    workload = scenario.workload
    if workload.users is not None:
        raise InputError("workload.users", workload.users, "an open workload: users in a closed loop have no share of a capacity")
    asked = {
        "deployment": deployment.model_dump(mode="json"),
        "workload": workload.model_dump(mode="json"),
        "requests": requests,
        "seed": SEED,
    }
    kept = _read(keep.path, asked) if keep.path is not None else {}
    saturated = kept.get("saturated_rps") or saturated_rate(prepared, draw(workload, min(SATURATION_REQUESTS, 10 * requests), SEED))
    items: list[dict[str, Any]] = [each for each in kept.get("items", ()) if not (keep.again and each["fault"])]
    known = {each["load"] for each in items}
    missing = [Load(share, share * saturated) for share in shares if share not in known]
    loads = _fitting(missing, requests, keep.budget_s)
    # What prices each operator: a capacity from other sources than this device's own is another claim.
    sources = {name: origin.source for name, origin in prepared.provenance.operators.items()}
    document = {**asked, "saturated_rps": saturated, "sources": sources, "items": items}

    def done(run: Run) -> None:
        items.append(item(result_of(run, server.engine, deployment.device)))
        items.sort(key=lambda each: float(each["load"]))
        if keep.path is not None:
            _write(keep.path, document)

    if loads:
        run_job(job_of(prepared, workload, server, loads, requests), deployment, server, done)
    left = [load.share for load in missing if load not in loads]
    chosen = [each for each in items if each["load"] in shares]
    return {**document, "items": chosen, "finished": not left, "left": left}


def _fitting(loads: Sequence[Load], requests: int, budget_s: float | None) -> list[Load]:
    """Returns the first of the loads that can be over in time."""
    fitting, left_s = [], budget_s
    for load in loads:
        assert load.rate_rps is not None
        if left_s is not None:
            left_s -= DRAIN * requests / load.rate_rps
            if left_s < 0:
                break
        fitting.append(load)
    return fitting


def _read(path: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a file keeps of these very runs, nothing where there is no file; raises InputError for another's file."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(told[name] == value for name, value in asked.items()):
            return {"saturated_rps": float(told["saturated_rps"]), "items": list(told["items"])}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError("--keep", str(path), f"a file that can be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError("--keep", str(path), "a file of this very deployment, workload and number of requests, or none yet")


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=2, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Infeasible(f"--keep {path} could not be written: {error.strerror or error}") from None
