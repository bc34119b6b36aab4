"""Where the numbers come from: the operator times by device, and what ran."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dashboard.words import ABSENT, count, number
from db.rows import StudyRow, TrialRow

KINDS = ("measured", "interpolated", "extrapolated", "roofline", "absent")


@dataclass(frozen=True)
class Origin:
    """Where one operator's times on one device come from: the commonest kind, the shares if they are mixed, and the source."""

    kind: str
    shares: str
    source: str


@dataclass(frozen=True)
class Provenance:
    """Devices, their summary in a sentence, operators by name with an Origin a device, versions, and what ran."""

    devices: list[str]
    sentences: list[str]
    operators: list[tuple[str, list[Origin | None]]]
    sources: list[tuple[str, str]]
    ran: list[tuple[str, str]]
    request: str


def provenance_of(study: StudyRow, trials: Sequence[TrialRow]) -> Provenance:
    """Returns the provenance of all trials of a study that were scored."""
    by_device: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for trial in trials:
        for name, origin in (trial.provenance.get("operators") or {}).items():
            by_device.setdefault(str(trial.deployment["device"]), {}).setdefault(name, []).append(origin)
    devices = sorted(by_device)
    merged = {device: {name: _merged(found) for name, found in by_device[device].items()} for device in devices}
    names = sorted({name for operators in merged.values() for name in operators})
    return Provenance(
        devices=devices,
        sentences=[f"{device}: {_summary(merged[device].values())}." for device in devices],
        operators=[(name, [merged[device].get(name) for device in devices]) for name in names],
        sources=_sources(trials),
        ran=_ran(study, trials),
        request=json.dumps(_without_folders(study.request), indent=2, sort_keys=True, ensure_ascii=False),
    )


def _merged(origins: Sequence[Mapping[str, Any]]) -> Origin:
    points: Counter[str] = Counter()
    for origin in origins:
        points.update(origin.get("points") or {str(origin.get("kind")): 1})
    total = sum(points.values())
    commonest = points.most_common(1)[0][0] if total else "absent"
    mixed = {kind: points[kind] for kind in KINDS if points[kind]}
    shares = ", ".join(f"{_share(points[kind] / total)} {kind}" for kind in mixed) if len(mixed) > 1 else ""
    sources = sorted({str(origin["source"]) for origin in origins if origin.get("source") not in (None, commonest)})
    return Origin(commonest, shares, ", ".join(sources))


def _share(part: float) -> str:
    return "<1 %" if part < 0.005 else f"{part * 100:.0f} %"


def _summary(origins: Iterable[Origin]) -> str:
    kinds = Counter(origin.kind for origin in origins)
    told = [f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]]
    return f"{count(sum(kinds.values()), 'operator')}, {', '.join(told)}"


def _sources(trials: Sequence[TrialRow]) -> list[tuple[str, str]]:
    """Returns each source with the versions that it states."""
    found: dict[str, set[str]] = {}
    for trial in trials:
        for origin in (trial.provenance.get("operators") or {}).values():
            if origin.get("source"):
                versions = origin.get("versions") or {}
                found.setdefault(str(origin["source"]), set()).update(f"{name} {version}" for name, version in versions.items())
    return [(source, ", ".join(sorted(versions)) or ABSENT) for source, versions in sorted(found.items())]


def _ran(study: StudyRow, trials: Sequence[TrialRow]) -> list[tuple[str, str]]:
    digests = sorted({study.kernel_digest, *(trial.kernel_digest for trial in trials)})
    runs = sorted({trial.fidelity for trial in trials if trial.fidelity})
    summary = study.summary or {}
    facts = [
        ("Study", study.id),
        ("Request digest", study.digest),
        ("Kernel digest", ", ".join(digests)),
        ("Seed", str(study.seed)),
        ("Requests a run", ", then ".join(number(size) for size in runs) or ABSENT),
        ("Created", f"{study.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Finished", f"{study.finished_at:%Y-%m-%d %H:%M:%S} UTC" if study.finished_at else ABSENT),
    ]
    facts += [(label, str(summary[key])) for label, key in (("Sampler", "sampler"), ("Executor", "executor")) if summary.get(key)]
    return facts + [(str(name), _plain(value)) for name, value in sorted(study.versions.items())]


def _without_folders(value: Any) -> Any:
    """Returns the request with file names in place of absolute paths, which tell others nothing but where one works."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value


def _plain(value: object) -> str:
    return ", ".join(f"{name} {_plain(item)}" for name, item in sorted(value.items())) if isinstance(value, dict) else str(value)
