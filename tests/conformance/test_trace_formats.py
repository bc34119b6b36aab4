"""Every trace format keeps the contract of `simulator.traces`: a sample of each, the same three requests, says so.

A new format is under test once it has a sample here; without one the first test fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.traces import Trace, reader

# Three requests at 0, 0.25 and 1.5 s: 600, 30 and 700 prompt tokens, 5, 7 and 9 output tokens.
REQUESTS = ((0.0, 600, 5), (0.25, 30, 7), (1.5, 700, 9))
Rows = tuple[tuple[float, int, int], ...]


def _csv(header: str, rows: Rows, form: str) -> list[str]:
    return [header, *(form.format(at=at, prompt=prompt, output=output) for at, prompt, output in rows)]


def _mooncake(rows: Rows) -> list[str]:
    return [
        json.dumps(
            {
                "timestamp": round(at * 1000),
                "input_length": prompt,
                "output_length": output,
                "hash_ids": list(range(-(-prompt // 512))),
            }
        )
        for at, prompt, output in rows
    ]


def _aiperf(rows: Rows) -> list[str]:
    # AIPerf writes and reads Mooncake's fields; hashes are optional and a session may be named.
    return [
        json.dumps({"session_id": "a", "timestamp": at * 1000, "input_length": prompt, "output_length": output})
        for at, prompt, output in rows
    ]


def _bailian(rows: Rows) -> list[str]:
    return [
        json.dumps(
            {
                "chat_id": i,
                "parent_chat_id": -1,
                "timestamp": at,
                "input_length": prompt,
                "output_length": output,
                "type": "text",
                "turn": 1,
            }
        )
        for i, (at, prompt, output) in enumerate(rows)
    ]


def _openai(rows: Rows) -> list[str]:
    return [
        json.dumps({"created": 1.7e9 + at, "usage": {"prompt_tokens": prompt, "completion_tokens": output}})
        for at, prompt, output in rows
    ]


SAMPLES = {
    "azure": lambda rows: _csv("TIMESTAMP,ContextTokens,GeneratedTokens", rows, "2023-11-16 18:15:{at:010.7f},{prompt},{output}"),
    "vidur": lambda rows: _csv("arrived_at,num_prefill_tokens,num_decode_tokens", rows, "{at},{prompt},{output}"),
    "plain": lambda rows: _csv("arrival_s,prompt_tokens,output_tokens", rows, "{at},{prompt},{output}"),
    "burstgpt": lambda rows: _csv(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", rows, "{at},GPT-4,{prompt},{output},0,API log"
    ),
    "mooncake": _mooncake,
    "bailian": _bailian,
    "openai_log": _openai,
}
FILES = {**{name: (name, sample) for name, sample in SAMPLES.items()}, "aiperf": ("mooncake", _aiperf)}


def read(folder: Path, lines: list[str]) -> Trace:
    path = folder / "trace"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return reader.read(path)


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(reader.formats())


@pytest.mark.parametrize("name", FILES)
def test_a_sample_is_read_as_its_format_and_no_other(name: str, tmp_path: Path) -> None:
    known, sample = FILES[name]
    trace = read(tmp_path, sample(REQUESTS))
    assert trace.format == known and trace.rows == 3 and not trace.dropped
    assert trace.arrival_s is not None and trace.arrival_s == pytest.approx([at for at, _, _ in REQUESTS], abs=1e-6)
    assert trace.prompt_tokens.tolist() == [600, 30, 700] and trace.output_tokens.tolist() == [5, 7, 9]
    assert trace.row.tolist() == [0, 1, 2] and len(trace.priority) == len(trace.session) == 3
    assert (trace.block_ids is None) == (trace.block_tokens is None)


@pytest.mark.parametrize("name", FILES)
def test_rows_without_tokens_are_dropped_and_counted(name: str, tmp_path: Path) -> None:
    _, sample = FILES[name]
    trace = read(tmp_path, sample((REQUESTS[0], (0.5, 40, 0), REQUESTS[2])))
    assert trace.prompt_tokens.tolist() == [600, 700] and trace.row.tolist() == [0, 2]
    assert dict(trace.dropped) == {"zero output tokens": 1} and any("dropped" in note for note in trace.notes)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_row_is_refused_in_one_line_with_its_number(name: str, tmp_path: Path) -> None:
    _, sample = FILES[name]
    good, bad = sample(REQUESTS), sample((REQUESTS[0], (0.25, -30, 7), REQUESTS[2]))
    assert len(good) == len(bad)
    with pytest.raises(InputError) as caught:
        read(tmp_path, bad)
    line = next(number for number, (one, other) in enumerate(zip(good, bad, strict=True), start=1) if one != other)
    assert f"line {line}, column " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"openai_log"}))
def test_time_does_not_go_back(name: str, tmp_path: Path) -> None:
    # A log of answers is in the order of their ends, and is sorted.
    _, sample = FILES[name]
    with pytest.raises(InputError, match="the row before"):
        read(tmp_path, sample((REQUESTS[0], REQUESTS[2], REQUESTS[1])))
