"""What `trimtab engine check` finds: an engine that is right, one that is not, and what cannot be checked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import main

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from profiler.engine import checking, rotary  # noqa: E402
from profiler.engine.checking import checks  # noqa: E402
from profiler.engine.runner import Runner  # noqa: E402


def found(words: str) -> dict[str, tuple[str, str]]:
    return {each.name: (each.state, each.told) for each in checks("cpu", words)}


def test_the_engine_is_right_on_this_processor() -> None:
    for words in ("logits of qwen3_moe", "preemption"):
        assert {state for state, _ in found(words).values()} == {"passed"}
    assert len(found("logits of qwen3_moe")) == 2


def test_graphs_are_skipped_on_a_processor_and_logits_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiler.engine.checking.importlib.util.find_spec", lambda name: None)
    assert set(found("logits of llama").values()) == {("skipped", "transformers is not installed here")}
    skipped = found("graphs")
    assert len(skipped) == 3 and set(skipped.values()) == {("skipped", "a processor has no graphs")}


def test_wrong_logits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = rotary.table
    monkeypatch.setattr("profiler.engine.model.rotary.table", lambda *given: tuple(each * 1.05 for each in plain(*given)))
    ((state, told),) = found("logits of llama in float32").values()
    assert state == "failed" and "0.0001 allowed" in told


def test_tokens_that_depend_on_the_batch_are_found_and_no_failure_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Runner.run

    def wrong(self: Any, parts: Any, temperatures: Any, chances: Any) -> Any:
        if len(parts) > 2:
            chances = [0.999 * (1 - chance) for chance in chances]
        return plain(self, parts, temperatures, chances)

    monkeypatch.setattr(Runner, "run", wrong)
    ((state, told),) = found("chunks of a prime").values()
    assert state == "failed" and told.endswith("of 10 requests have other tokens")

    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Runner, "run", full)
    assert set(found("in flight").values()) == {("failed", "out of memory: CUDA out of memory")}


def test_the_command_tells_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = {
        "vendor": "cpu", "architecture": "x86_64", "memory_bytes": 16 << 30, "memory_bandwidth_bytes_per_s": 1e13,
        "peak_flops_per_s": {"float32": 1e15}, "link": {"pcie_bytes_per_s": 1e13, "gpus_per_node": 2}, "sources": {"all": "made"},
    }  # fmt: skip
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "test-cpu.yaml").write_text(yaml.safe_dump(sheet))
    monkeypatch.setenv("TRIMTAB_CATALOG", str(tmp_path))
    assert main(["engine", "check", "--device", "test-cpu", "--only", "graphs", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [each["state"] for each in json.loads(out)["items"]] == ["skipped"] * 3 and err.count("\n") == 3
    assert main(["engine", "check", "--device", "test-cpu", "--only", "nothing"]) == 2
    assert "--only: 'nothing'" in capsys.readouterr().err
    monkeypatch.setattr(checking, "_with_graphs", lambda kind, name: 1 / 0)
    assert main(["engine", "check", "--device", "test-cpu", "--only", "graphs"]) == 1
    assert "3 of 3 checks failed" in capsys.readouterr().err
