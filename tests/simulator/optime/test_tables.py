"""Measured tables: exact where measured, between neighbours inside, never idle beyond, never faster than the device can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import catalog
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.leave_one_out import by_operator, errors_of
from simulator.optime.operators import AllReduce, Experts, Gemm, Memory, Operator, Transfer
from simulator.optime.provenance import EXTRAPOLATED, INTERPOLATED, MEASURED, ROOFLINE
from simulator.optime.shapes import MIXED, MIXED_PAIRS, key_of, places_of
from simulator.optime.tables import Table, Tables

DEVICE = catalog.device("H200-SXM")
LINES = np.array([1.0, 2.0, 4.0, 8.0, 64.0, 100.0])
SECONDS = st.lists(st.floats(1e-6, 1e-2), min_size=len(LINES), max_size=len(LINES))
PLACES = st.lists(st.integers(1, 400), min_size=1, max_size=20)


def gemm(rows: Any) -> Gemm:
    return Gemm("qkv_proj", np.asarray(rows), 6144, 4096, "bfloat16")


def decode(batch: Any, kv: Any, beside_chunk: int = 0) -> DecodeAttention:
    return DecodeAttention("a", np.asarray(batch), np.asarray(kv, float), 32, 8, 128, "bfloat16", beside_chunk=beside_chunk)


def prefill(chunk: Any, before: Any) -> PrefillAttention:
    return PrefillAttention("a", np.asarray(chunk), np.asarray(before), 32, 8, 128, "bfloat16")


def tables_of(operator: Operator, seconds: Any) -> Tables:
    """Returns tables with the operator's own points, measured as `seconds`."""
    key = key_of(operator)
    assert key is not None
    return Tables(DEVICE, {key: Table.of(places_of(operator), np.asarray(seconds))}, {"test": "1"})


def priced(tables: Tables, operator: Operator) -> np.ndarray[Any, Any]:
    found = tables.price(operator)
    assert found is not None
    return found.seconds


# Curves


@given(SECONDS)
def test_a_measured_point_is_told_as_it_was_measured(seconds: list[float]) -> None:
    at, kinds = Table.of([LINES], np.array(seconds)).at((LINES,))
    assert at.tolist() == seconds and set(kinds.tolist()) == {MEASURED}


@given(SECONDS, PLACES)
def test_between_two_points_a_time_is_between_theirs(seconds: list[float], places: list[int]) -> None:
    table = Table.of([LINES], np.array(seconds))
    for place in places:
        at, kinds = table.at((np.array([float(place)]),))
        right = min(int(np.searchsorted(LINES, place)), len(LINES) - 1)
        left = right if LINES[right] == place or place > LINES[-1] else max(right - 1, 0)
        low, high = sorted((seconds[left], seconds[right]))
        assert low * (1 - 1e-12) <= at[0] <= high * (1 + 1e-12)
        assert kinds[0] == (EXTRAPOLATED if place > 100 else MEASURED if place in LINES else INTERPOLATED)


def test_a_step_that_was_measured_stays_a_step() -> None:
    table = Table.of([np.array([128.0, 129.0, 256.0])], np.array([1.0, 2.0, 2.0]))
    assert table.at((np.array([127.0, 128.0, 129.0, 200.0]),))[0].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_of_a_point_measured_twice_the_mean_counts_or_the_least() -> None:
    rows, seconds = np.array([2.0, 1.0, 2.0]), np.array([4.0, 1.0, 2.0])
    assert Table.of([rows], seconds).seconds.tolist() == [1.0, 3.0]
    assert Table.of([rows], seconds).repeated == 1
    assert Table.of([rows], seconds, least=True).seconds.tolist() == [1.0, 2.0]


@given(SECONDS, PLACES)
def test_more_rows_never_take_less_time_where_none_did_when_measured(seconds: list[float], places: list[int]) -> None:
    tables = tables_of(gemm(LINES.astype(int)), sorted(seconds))
    times = priced(tables, gemm(np.sort(places)))
    assert (np.diff(times) >= -1e-15).all()


@given(SECONDS, PLACES)
def test_no_gemm_is_faster_than_the_roofline(seconds: list[float], places: list[int]) -> None:
    found = tables_of(gemm(LINES.astype(int)), seconds).price(gemm(np.array(places)))
    least = bound(gemm(np.array(places)), DEVICE)
    assert found is not None and least is not None
    assert (found.seconds >= least * (1 - 1e-9)).all()
    assert ((found.kinds == ROOFLINE) <= (found.seconds == least)).all()


def test_beyond_the_last_point_the_utilisation_is_held() -> None:
    last, beyond = gemm([4096]), gemm([40960])
    least, far = bound(last, DEVICE), bound(beyond, DEVICE)
    assert least is not None and far is not None
    tables = tables_of(gemm([1024, 4096]), [1e-3, 2 * least[0]])
    assert priced(tables, beyond) == pytest.approx(2 * far)


def test_before_the_first_point_time_does_not_shrink() -> None:
    tables = tables_of(gemm([16, 32]), [3e-4, 4e-4])
    assert priced(tables, gemm([1, 15])).tolist() == [3e-4, 3e-4]


def test_what_moves_activations_may_be_faster_than_memory() -> None:
    norm = Memory("input_norm", np.array([2048]), 32768.0)
    assert priced(tables_of(norm, [1e-6]), norm).tolist() == [1e-6]


def test_what_was_timed_within_another_operator_costs_nothing_more() -> None:
    write = Memory("kv_write", np.array([1, 4096]), 8192.0)
    key = key_of(write)
    assert key is not None
    assert priced(Tables(DEVICE, {key: Table.within(1)}, {}), write).tolist() == [0.0, 0.0]


# Grids

BATCH, KV = np.meshgrid([1, 4, 16], [64, 256, 1024], indexing="ij")
GRID = st.lists(st.floats(1e-6, 1e-3), min_size=9, max_size=9)


@given(GRID, st.integers(1, 40), st.integers(1, 4000))
def test_decodes_are_within_their_cell_and_above_the_roofline(seconds: list[float], batch: int, kv: int) -> None:
    operator = decode([batch], [kv])
    found = priced(tables_of(decode(BATCH.ravel(), KV.ravel()), seconds), operator)
    least = bound(operator, DEVICE)
    assert least is not None and found[0] >= least[0] * (1 - 1e-9)
    if batch <= 16 and kv <= 1024:
        assert found[0] <= max(*seconds, least[0]) * (1 + 1e-12)


@given(st.floats(1e-6, 1e-4), st.floats(0, 1e-5), st.floats(0, 1e-8), st.integers(1, 40), st.integers(1, 4000))
def test_more_decodes_and_longer_ones_never_take_less(base: float, each: float, pair: float, batch: int, kv: int) -> None:
    tables = tables_of(decode(BATCH.ravel(), KV.ravel()), (base + each * BATCH + pair * BATCH * KV).ravel())
    times = priced(tables, decode([batch, batch + 1, batch], [kv, kv, kv + 64]))
    assert times[1] >= times[0] * (1 - 1e-9) and times[2] >= times[0] * (1 - 1e-9)


def test_a_gap_is_no_less_than_its_neighbours() -> None:
    batch, kv = BATCH.ravel()[:-1], KV.ravel()[:-1]
    table = Table.of([batch, kv + 1], 1e-5 + 1e-9 * batch * kv)
    assert table.gaps.sum() == 1 and table.gaps[-1, -1]
    assert table.seconds[-1, -1] >= max(table.seconds[-1, -2], table.seconds[-2, -1])
    assert table.seconds[-1, -1] == pytest.approx(1e-5 + 1e-9 * 16 * 1024)
    assert table.at((np.array([16.0]), np.array([1025.0])))[1].tolist() == [EXTRAPOLATED]


def test_a_corner_before_the_first_point_is_that_point() -> None:
    table = Table.of([np.array([1, 2, 2]), np.array([8, 8, 4])], np.array([3.0, 4.0, 2.0]))
    assert np.isfinite(table.seconds).all()


def test_chunks_lie_on_lines_over_both_extents() -> None:
    tables = tables_of(prefill([16, 16, 64, 64], [0, 512, 0, 512]), [1e-4, 2e-4, 3e-4, 4e-4])
    assert priced(tables, prefill([40], [256])) == pytest.approx([2.5e-4])


def test_decodes_beside_a_chunk_take_what_was_measured_so_and_more_for_a_longer_chunk() -> None:
    alone = decode([1, 2], [64, 64])
    key = key_of(alone)
    assert key is not None
    shape = key[1:]
    grid = Table.of([np.array([1, 1, 2, 2]), np.array([64, 128, 64, 128])], np.array([1e-5, 2e-5, 3e-5, 4e-5]))
    added = Table(grid.lines, grid.seconds + 1e-5, grid.gaps)
    pairs = Table.of([np.array([1000.0])], np.array([1e-6]))
    tables = Tables(DEVICE, {key: grid, (MIXED, *shape): added, (MIXED_PAIRS, *shape): pairs}, {})
    assert priced(tables, alone) == pytest.approx([1e-5, 3e-5])
    assert priced(tables, decode([1, 2], [64, 64], 100)) == pytest.approx([2e-5 + 1e-7, 4e-5 + 2e-7])
    without = Tables(DEVICE, {key: grid}, {})
    assert priced(without, decode([1, 2], [64, 64], 100)) == pytest.approx([1e-5, 3e-5])


# Other shapes


def test_shapes_that_differ_have_tables_of_their_own() -> None:
    tables = tables_of(gemm([1, 2]), [1e-4, 2e-4])
    assert tables.price(Gemm("other_name", np.array([1]), 6144, 4096, "float16")) is not None
    assert tables.price(Gemm("qkv_proj", np.array([1]), 6144, 2048, "bfloat16")) is None
    assert tables.price(Gemm("qkv_proj", np.array([1]), 6144, 4096, "bfloat16", "fp8")) is None
    assert tables.versions(gemm([1])) == {"test": "1"}
    assert tables.token_knots().tolist() == [1, 2]


def test_collectives_and_sends_lie_by_bytes() -> None:
    reduce = AllReduce("r", np.array([1, 3]), 1e6, 4)
    assert priced(tables_of(reduce, [1e-3, 3e-3]), AllReduce("other", np.array([4]), 5e5, 4)) == pytest.approx([2e-3])
    send = Transfer("s", np.array([1, 3]), 1e6, 4)
    assert priced(tables_of(send, [1e-3, 3e-3]), Transfer("s", np.array([2]), 1e6, 4)) == pytest.approx([2e-3])


def test_experts_lie_by_rows_assigned_and_experts_activated() -> None:
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 32, "experts": 16, "top_k": 2, "dtype": "bfloat16"}
    assigned, activated = np.meshgrid([1, 64, 4096], [1, 8, 16], indexing="ij")
    whole = Experts("e", np.array([2, 512]), local_experts=16, **shape)
    key = key_of(whole)
    assert key is not None
    table = Table.of([assigned.ravel(), activated.ravel()], (1e-6 * assigned + 1e-3 * activated).ravel())
    tables = Tables(DEVICE, {key: table}, {})
    assert priced(tables, whole) == pytest.approx(1e-6 * whole.assigned + 1e-3 * whole.activated)
    half = Experts("e", np.array([1024]), local_experts=8, **shape)
    assert priced(tables, half) == pytest.approx(1e-6 * 1024 + 1e-3 * 8), "as many rows as of 512 tokens, half the experts"
    assert tables.price(Experts("e", np.array([2]), local_experts=16, load="power_law_1.2", **shape)) is None


# Leaving one out


def test_a_line_is_predicted_without_error_and_a_bend_is_not() -> None:
    lines = np.array([1.0, 2.0, 4.0])
    assert errors_of(Table.of([lines], 1 + lines)).tolist() == [0.0]
    bent = errors_of(Table.of([lines], np.array([1.0, 1.0, 4.0])))
    assert bent == pytest.approx([1.0])


def test_errors_are_told_by_operator() -> None:
    key, other = key_of(gemm([1])), key_of(decode([1], [1]))
    assert key is not None and other is not None
    curve = Table.of([np.array([1.0, 2.0, 3.0])], np.array([1.0, 1.0, 3.0]))
    grid = Table.of([BATCH.ravel(), KV.ravel()], (1 + BATCH * KV).ravel())
    told = {each.operator: each for each in by_operator({key: curve, ("gemm", 0, 0, "", ""): curve, other: grid})}
    assert told["gemm"].points == 1 and told["gemm"].median == pytest.approx(1.0) == told["gemm"].bias
    # One point far off does not stand for all of them.
    outlier = Table.of([np.arange(1.0, 8.0)], np.array([1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0]))
    assert abs(next(by_operator({key: outlier})).bias) < 0.3
    assert told["decode_attention"].points == 6 and told["decode_attention"].p90 == pytest.approx(0.0, abs=1e-12)
