"""JUnit XML of a run's predictions: a test case for each case, a failure where it changed; accuracy is no test and left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring


def text(document: Mapping[str, Any]) -> str:
    """Returns the XML of a run's document."""
    cases = document["predictions"]
    failed = sum(bool(case["findings"]) for case in cases)
    errors = sum(case["state"] == "failed" and not case["findings"] for case in cases)
    told = {"tests": str(len(cases)), "failures": str(failed), "errors": str(errors)}
    root = Element("testsuites", {"name": "trimtab sweep", **told})
    seconds = sum(case["seconds"] for case in cases)
    suite = SubElement(root, "testsuite", {"name": _clean(document["suite"]), **told, "time": f"{seconds:.3f}"})
    suite.set("timestamp", document["created_at"].split("+")[0])
    suite.set("hostname", _clean(document["host"]))
    properties = SubElement(suite, "properties")
    for name in ("id", "baseline", "baseline_run", "seed_shift", "verdict"):
        SubElement(properties, "property", name=name, value=_clean(str(document[name])))
    for case in cases:
        _case(suite, document["suite"], case)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _case(suite: Element, name: str, case: Mapping[str, Any]) -> None:
    found = SubElement(
        suite, "testcase", classname=_clean(f"{name}.{case['kind']}"), name=_clean(case["name"]), time=f"{case['seconds']:.3f}"
    )
    if case["findings"]:
        lines = [finding["sentence"] for finding in case["findings"]]
        failure = SubElement(found, "failure", type="changed", message=_clean(lines[0]))
        failure.text = _clean("\n".join([*lines, f"why: {case['why']}"]))
    elif case["state"] == "failed":
        SubElement(found, "error", type="failed", message=_clean(str(case["reason"])))


def _clean(words: str) -> str:
    """Returns the text without the characters that XML cannot hold."""
    return "".join(each for each in words if each in "\t\n" or (each >= " " and each not in "\ufffe\uffff"))
