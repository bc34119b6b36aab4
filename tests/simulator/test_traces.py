"""Trace files: what each format gives, and that every broken file is refused in one line that says where and why."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.traces import reader

TRACES = Path(os.environ.get("TRIMTAB_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "traces"
real = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no recorded traces at {TRACES}")

VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"


def write(folder: Path, *lines: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        reader.read(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("workload.trace")
    return message


def test_formats_are_the_modules_of_the_folder_and_exclude_each_other() -> None:
    samples = {
        "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens", "NumImages"},
        "mooncake": {"timestamp", "input_length", "output_length", "hash_ids"},
        "vidur": {"arrived_at", "num_prefill_tokens", "num_decode_tokens"},
    }
    assert set(samples) <= set(reader.formats())
    for name, columns in samples.items():
        assert [other for other, known in reader.formats().items() if known.matches(frozenset(columns))] == [name]


def test_azure_counts_seconds_from_its_first_row(tmp_path: Path) -> None:
    path = write(tmp_path, AZURE, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109")
    trace = reader.read(path)
    assert trace.format == "azure" and trace.rows == len(trace) == 2
    assert trace.arrival_s is not None
    assert trace.arrival_s.tolist() == [0.0, 4.314579]
    assert trace.prompt_tokens.tolist() == [374, 396] and trace.output_tokens.tolist() == [44, 109]
    assert trace.priority.tolist() == [0, 0] and trace.notes == ()


def test_azure_takes_times_with_and_without_fraction_and_offset(tmp_path: Path) -> None:
    stamps = ("2024-05-10 00:00:00.009930+00:00", "2024-05-10T00:00:01Z", "2024-05-10 02:00:02+0200", "2024-05-09 19:00:03.5-05:00")
    trace = reader.read(write(tmp_path, AZURE, *(f"{stamp},5,5" for stamp in stamps)))
    assert trace.arrival_s == pytest.approx([0.0, 0.99007, 1.99007, 3.49007])


def test_vidur_keeps_the_clock_as_written_and_further_columns_are_ignored(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, f"id,{VIDUR},priority,ratio", "a,3.5,10,2,1,x", "b,3.5,11.0,3,-2,y", "", "c,9,12,4,0,z"))
    assert trace.format == "vidur" and trace.arrival_s is not None
    assert trace.arrival_s.tolist() == [3.5, 3.5, 9.0]
    assert trace.prompt_tokens.tolist() == [10, 11, 12] and trace.priority.tolist() == [1, -2, 0]


def test_the_written_requests_are_read_again(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, "request_id,arrived_at_s,num_prefill_tokens,num_decode_tokens,replica", "0,0.25,7,3,0"))
    assert trace.arrival_s is not None and trace.arrival_s.tolist() == [0.25]


def test_lengths_alone_are_a_trace_without_a_clock(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, "num_prefill_tokens,num_decode_tokens", "10,2", "11,3"))
    assert trace.arrival_s is None and len(trace) == 2


def test_block_ids_are_ranges(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, f"{VIDUR},block_ids", "0,40,2,0-2 17", "1,40,2,"))
    assert trace.block_ids is not None and trace.block_tokens is None
    assert [ids.tolist() for ids in trace.block_ids] == [[0, 1, 2, 17], []]


def mooncake_row(stamp: object, prompt: int = 600, ids: str = "[0, 1]") -> str:
    return f'{{"timestamp": {stamp}, "input_length": {prompt}, "output_length": 9, "hash_ids": {ids}}}'


def test_mooncake_is_milliseconds_with_blocks_of_512(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, mooncake_row(0), mooncake_row(40), mooncake_row(277, 1, "[7]"), name="t.jsonl"))
    assert trace.format == "mooncake" and trace.arrival_s is not None and trace.notes == ()
    assert trace.arrival_s.tolist() == [0.0, 0.04, 0.277]
    assert trace.block_tokens == 512 and trace.block_ids is not None
    assert [ids.tolist() for ids in trace.block_ids] == [[0, 1], [0, 1], [7]]


def test_mooncake_stamps_on_the_grid_are_spread_inside_the_step(tmp_path: Path) -> None:
    stamps = [0, 0, 3000, 3000, 3000, 5999, 9000, 9000]
    trace = reader.read(write(tmp_path, *(mooncake_row(stamp) for stamp in stamps), name="t.jsonl"))
    assert trace.arrival_s is not None
    # The step after 3000 is 2999 ms long, that after the last stamp 3000.
    assert trace.arrival_s == pytest.approx([0, 1.5, 3, 3 + 2.999 / 3, 3 + 2 * 2.999 / 3, 5.999, 9, 10.5])
    assert any("grid of 3 s" in note for note in trace.notes)


def test_mooncake_hashes_of_another_block_size_are_left_out_aloud(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, mooncake_row(0, ids="[0, 1, 2]"), name="t.jsonl"))
    assert trace.block_ids is None and any("hash_ids are left out" in note for note in trace.notes)


def test_seconds_under_the_names_of_milliseconds_are_not_taken_for_them(tmp_path: Path) -> None:
    chats = [(1, -1, 1.5, 10), (2, 1, 3.0, 40), (7, -1, 3.5, 16), (3, 2, 9.0, 20), (8, 99, 9.5, 3)]
    keys = ("chat_id", "parent_chat_id", "timestamp", "input_length")
    rows = [
        {**dict(zip(keys, chat, strict=True)), "output_length": 5, "hash_ids": list(range(-(-chat[3] // 16)))} for chat in chats
    ]
    trace = reader.read(write(tmp_path, *map(json.dumps, rows), name="t.jsonl"))
    assert trace.format == "bailian" and trace.arrival_s is not None and trace.arrival_s[0] == 1.5
    assert trace.block_tokens == 16 and trace.block_ids is not None and trace.block_ids[1].tolist() == [0, 1, 2]
    # A chat whose parent is not in the file begins a session.
    assert trace.session.tolist() == [0, 0, 1, 0, 2]


def test_burstgpt_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    rows = ["5,,2.5,ChatGPT,472,18,490,API log", "45,a1,3,GPT-4,1087,0,1087,Conversation log", "118,a1,1,GPT-4,7,9,16,x"]
    trace = reader.read(write(tmp_path, header, *rows))
    assert trace.format == "burstgpt" and trace.arrival_s is not None and trace.arrival_s.tolist() == [5, 118]
    assert trace.prompt_tokens.tolist() == [472, 7] and trace.session.tolist() == [-1, 0] and trace.row.tolist() == [0, 2]
    assert dict(trace.dropped) == {"zero output tokens": 1}


def test_an_openai_style_log_is_put_in_order_and_its_seconds_are_filled(tmp_path: Path) -> None:
    usages = [
        {"created": 1700000003, "usage": {"prompt_tokens": 30, "completion_tokens": 3, "total_tokens": 33}, "class": "late"},
        {"created": 1700000001, "usage": {"input_tokens": 10, "output_tokens": 1}, "class": "soon"},
        {"created": 1700000002, "usage": None, "class": "soon"},
        {"created": 1700000001, "usage": {"prompt_tokens": 20, "completion_tokens": 2}, "class": "soon"},
    ]
    trace = reader.read(write(tmp_path, *map(json.dumps, usages), name="t.jsonl"))
    assert trace.format == "openai_log" and trace.arrival_s is not None and trace.arrival_s.tolist() == [0, 0.5, 2]
    assert trace.prompt_tokens.tolist() == [10, 20, 30] and trace.output_tokens.tolist() == [1, 2, 3]
    assert trace.row.tolist() == [1, 3, 0] and [trace.class_names[one] for one in trace.class_of] == ["soon", "soon", "late"]
    assert len(trace.notes) == 2 and "whole seconds" in trace.notes[0]
    flat = reader.read(write(tmp_path, "created,usage.input_tokens,usage.output_tokens", "9.5,7,3", "9.25,5,1"))
    assert flat.arrival_s is not None and flat.arrival_s.tolist() == [0, 0.25] and flat.prompt_tokens.tolist() == [5, 7]
    lacking = write(tmp_path, '{"created": 1, "usage": {"prompt_tokens": 3}}', name="t.jsonl")
    assert "line 1, column usage.completion_tokens" in refused(lacking)
    assert "an object with" in refused(write(tmp_path, '{"created": 1, "usage": 3}', name="t.jsonl"))


def test_classes_sessions_and_rows_are_read_from_any_format(tmp_path: Path) -> None:
    lines = ["0,10,2,batch,u2,x", "1,0,2,chat,u2,y", "2,30,2,,u1,z", "3,40,2,chat,,z"]
    trace = reader.read(write(tmp_path, f"{VIDUR},class,session_id,id", *lines))
    assert trace.class_names == ("batch", "chat", "all") and trace.class_of.tolist() == [0, 2, 1]
    assert trace.session.tolist() == [0, 1, -1] and trace.row.tolist() == [0, 2, 3]
    plain = reader.read(write(tmp_path, VIDUR, "0,10,2"))
    assert plain.class_names == ("all",) and plain.session.tolist() == [-1]


def test_gzip_is_found_by_its_bytes_and_several_members_are_read(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(gzip.compress(f"{VIDUR}\r\n0,1,2\r\n".encode()) + gzip.compress(b"1,3,4\r\n"))
    assert reader.read(path).prompt_tokens.tolist() == [1, 3]


def test_zero_rows_are_dropped_and_counted_aloud(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, f"{VIDUR},block_ids", "0,1,2,1", "1,0,2,2", "2,5,0,3", "3,0,0,4", "4,6,7,5"))
    assert trace.rows == 5 and len(trace) == 2
    assert trace.arrival_s is not None and trace.arrival_s.tolist() == [0.0, 4.0]
    assert trace.block_ids is not None and [ids.tolist() for ids in trace.block_ids] == [[1], [5]]
    assert dict(trace.dropped) == {"zero prompt tokens": 2, "zero output tokens": 1}
    assert trace.notes == ("trace.csv: of 5 rows 2 with zero prompt tokens and 1 with zero output tokens were dropped",)
    assert "one token or more" in refused(write(tmp_path, VIDUR, "0,0,2"))


WRONG_ROWS = [
    (VIDUR, ["0,1,2", "1,-3,2"], "line 3, column num_prefill_tokens", "'-3'", "whole number of tokens"),
    (VIDUR, ["0,1,2", "", "1,3,many"], "line 4, column num_decode_tokens", "'many'", "whole number of tokens"),
    (VIDUR, ["0,1,2.5"], "line 2, column num_decode_tokens", "'2.5'", "whole number of tokens"),
    (VIDUR, ["0,1,"], "line 2, column num_decode_tokens", "''", "whole number of tokens"),
    (VIDUR, ["0,nan,2"], "line 2, column num_prefill_tokens", "'nan'", "whole number of tokens"),
    (VIDUR, ["0,inf,2"], "line 2, column num_prefill_tokens", "'inf'", "whole number of tokens"),
    (VIDUR, ["0,99999999999,2"], "line 2, column num_prefill_tokens", "'99999999999'", "at most"),
    (VIDUR, ["-1,1,2"], "line 2, column arrived_at", "'-1'", "seconds"),
    (VIDUR, ["5,1,2", "6,1,2", "5.5,1,2"], "line 4, column arrived_at", "'5.5'", "the row before (6)"),
    (VIDUR, ["0,1,2", "1,2"], "line 3", "'1,2'", "3 values"),
    (VIDUR, ["0,1,2,3"], "line 2", "'0,1,2,3'", "3 values"),
    (f"{VIDUR},priority", ["0,1,2,high"], "line 2, column priority", "'high'", "whole number"),
    (f"{VIDUR},block_ids", ["0,1,2,5-3"], "line 2, column block_ids", "'5-3'", "ranges"),
    (f"{VIDUR},block_ids", ["0,1,2,0-99999999999"], "line 2, column block_ids", "'0-99999999999'", "ranges"),
    (f"{VIDUR},block_ids", ["0,1,2,99999999999999999999"], "line 2, column block_ids", "'99999999999999999999'", "ranges"),
    (AZURE, ["2023-11-16 18:15:46,1,2", "soon,1,2"], "line 3, column TIMESTAMP", "'soon'", "date and time"),
    (AZURE, ["2023-13-16 18:15:46,1,2"], "line 2, column TIMESTAMP", "'2023-13-16 18:15:46'", "date and time"),
    (AZURE, ["2023-11-16 18:15:4600,1,2"], "line 2, column TIMESTAMP", "'2023-11-16 18:15:4600'", "date and time"),
    (AZURE, ["2023-11-16 18:15:46,1,2", "2023-11-16 18:15:45,1,2"], "line 3, column TIMESTAMP", "18:15:45'", "18:15:46"),
    (AZURE, ["2023-11-16 18:15:46,1,-2"], "line 2, column GeneratedTokens", "'-2'", "whole number of tokens"),
    (mooncake_row(0), [mooncake_row(-1)], "line 2, column timestamp", "-1", "milliseconds"),
    (mooncake_row(9), ["", mooncake_row(8)], "line 3, column timestamp", "8", "the row before (9)"),
    (mooncake_row(0), ['{"timestamp": 1, "input_length": 5}'], "line 2, column output_length", "None", "tokens"),
    (mooncake_row(0), ['{"timestamp": 1, "input_length": true, "output_length": 1}'], "column input_length", "True", "tokens"),
    (mooncake_row(0), ['{"timestamp": 1, "input_length": [1], "output_length": 1}'], "column input_length", "[1]", "tokens"),
    (mooncake_row(0), ['{"timestamp": 1, "input_length": NaN, "output_length": 1}'], "column input_length", "nan", "tokens"),
    (mooncake_row(0), [mooncake_row(1, ids="[1, -1]")], "line 2, column hash_ids", "[1, -1]", "block numbers"),
    (mooncake_row(0), [mooncake_row(1, ids="[1, 1.5]")], "line 2, column hash_ids", "[1, 1.5]", "block numbers"),
    (mooncake_row(0), [mooncake_row(1, ids='"0-3"')], "line 2, column hash_ids", "'0-3'", "block numbers"),
    (mooncake_row(0), ["{broken"], "line 2", "'{broken'", "one JSON object a line"),
    (mooncake_row(0), ["[1, 2]"], "line 2", "'[1, 2]'", "one JSON object a line"),
    (mooncake_row(0), ["[" * 100_000], "line 2", "[[[", "one JSON object a line"),
    (mooncake_row(0), [mooncake_row("1" * 5000)], "line 2", "timestamp", "one JSON object a line"),
]


@pytest.mark.parametrize(("header", "rows", "where", "value", "reason"), WRONG_ROWS)
def test_a_wrong_row_is_refused_with_its_line_and_its_reason(
    tmp_path: Path, header: str, rows: list[str], where: str, value: str, reason: str
) -> None:
    message = refused(write(tmp_path, header, *rows))
    allowed = message.partition("; allowed: ")
    assert where in allowed[0] and value in allowed[0] and reason in allowed[2]


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "absent.csv")
    assert "directory" in refused(tmp_path)
    assert "pipe" in refused(Path("/dev/zero"))
    assert "null byte" in refused(Path("a\0b"))
    assert "too long" in refused(tmp_path / ("x" * 5000))
    assert "header and no rows" in refused(write(tmp_path, VIDUR))
    assert "header" in refused(write(tmp_path, f"{VIDUR},arrived_at", "0,1,2,3"))
    path = tmp_path / "trace"
    whole = gzip.compress(f"{VIDUR}\n0,1,2\n".encode())
    cases = {
        b"": "the file is empty",
        b"\n \n": "the file is empty",
        gzip.compress(b""): "the file is empty",
        whole[:-9]: "cut short",
        whole[:-8] + b"\0\0\0\0" + whole[-4:]: "sound gzip",
        whole[:12] + b"\xff\xff\xff" + whole[15:]: "sound gzip",
        b"\x89PNG\r\n\x1a\n\0\0": "binary",
        b"PK\x03\x04\0\0": "binary",
        f"{VIDUR}\n0,1,2\n".encode("utf-16"): "binary",
        bytes(range(256)): "binary",
    }
    for data, reason in cases.items():
        path.write_bytes(data)
        assert reason in refused(path), data


def test_unknown_columns_are_told_with_what_each_format_needs(tmp_path: Path) -> None:
    for path in (write(tmp_path, "time,prompt,output", "0,1,2"), write(tmp_path, '{"t": 1, "in": 2}', name="t.jsonl")):
        message = refused(path)
        assert all(known.NEEDS in message for known in reader.formats().values())
    assert "'in, t'" in message


@given(data=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk"
    for content in (data, f"{VIDUR}\n".encode() + data, b'{"timestamp": 0,' + data):
        path.write_bytes(content)
        try:
            assert len(reader.read(path))
        except InputError as error:
            assert "\n" not in str(error)


Rows = st.lists(
    st.tuples(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(-5, 5)), min_size=1, max_size=30
)


@given(rows=Rows)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, int, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    path = write(tmp_path_factory.getbasetemp(), f"{VIDUR},priority", *(",".join(map(repr, row)) for row in rows), name="round.csv")
    trace = reader.read(path)
    assert trace.arrival_s is not None
    columns = (trace.arrival_s, trace.prompt_tokens, trace.output_tokens, trace.priority)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows


def test_what_is_read_cannot_be_changed(tmp_path: Path) -> None:
    trace = reader.read(write(tmp_path, VIDUR, "0,1,2"))
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt_tokens[0] = 5


@real
def test_the_recorded_chat_traffic_of_azure() -> None:
    azure, vidur = reader.read(TRACES / "azure2023_conv.csv.gz"), reader.read(TRACES / "vidur_splitwise_conv.csv.gz")
    assert len(azure) == azure.rows == 19_366
    assert azure.prompt_tokens.mean() == pytest.approx(1154.7, abs=0.05)
    assert azure.output_tokens.mean() == pytest.approx(211.13, abs=0.005)
    # Vidur's file is the same traffic in its own form.
    assert azure.arrival_s is not None and vidur.arrival_s is not None
    assert np.allclose(azure.arrival_s, vidur.arrival_s, atol=1e-6, rtol=0)
    assert (azure.prompt_tokens == vidur.prompt_tokens).all() and (azure.output_tokens == vidur.output_tokens).all()


@real
def test_the_recorded_traffic_of_mooncake() -> None:
    conversation, synthetic = (reader.read(TRACES / f"mooncake_{name}.jsonl.gz") for name in ("conversation", "synthetic"))
    assert len(conversation) == 12_031 and len(synthetic) == 3_993
    assert conversation.prompt_tokens.mean() == pytest.approx(12_035, abs=1)
    assert conversation.arrival_s is not None and (np.diff(conversation.arrival_s) > 0).all()
    assert conversation.block_ids is not None and all(ids[0] == 0 for ids in conversation.block_ids)
    assert synthetic.notes == () and synthetic.arrival_s is not None
    assert synthetic.arrival_s[2] == pytest.approx(0.04)
