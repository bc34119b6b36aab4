"""Draws: the laws of every Traffic, and what is replayed, continued and resampled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import lengths
from simulator.draw import draw, own_rate
from simulator.draw.streams import STREAMS, stream
from simulator.errors import InputError
from simulator.spec.distributions import Lengths
from simulator.spec.workload import Workload
from simulator.traces import _blocks
from simulator.traffic import Traffic

TRACES = Path(os.environ.get("TRIMTAB_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "traces"
real = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no recorded traces at {TRACES}")

ROWS = 500


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trace of 500 rows with a wave in rate and lengths; the priority is the row."""
    rng = np.random.default_rng(7)
    wave = 1 + 0.8 * np.sin(np.arange(ROWS) / ROWS * 2 * np.pi)
    times = 10 + np.cumsum(rng.standard_exponential(ROWS) / wave)
    prompts = (100 * wave + rng.integers(1, 50, ROWS)).astype(int)
    rows = [f"{t!r},{p},{row % 17 + 1},{row}" for row, (t, p) in enumerate(zip(times.tolist(), prompts.tolist(), strict=True))]
    path = tmp_path_factory.mktemp("traces") / "wave.csv"
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens,priority", *rows]))
    return str(path)


@pytest.fixture(scope="session")
def clockless(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("traces") / "lengths.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n10,1\n20,2\n30,3\n")
    return str(path)


@pytest.fixture(scope="session")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("traces") / "batch.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,1\n0,20,2\n0,30,3\n")
    return str(path)


def mean_rate(traffic: Traffic) -> float:
    return (len(traffic) - 1) / float(traffic.arrival_s[-1] - traffic.arrival_s[0])


def same(first: Traffic, second: Traffic) -> bool:
    arrays = ("arrival_s", "prompt_tokens", "output_tokens", "priority")
    return all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in arrays)


def check_laws(traffic: Traffic, count: int) -> None:
    for name, dtype in (("arrival_s", "f8"), ("prompt_tokens", "i8"), ("output_tokens", "i8"), ("priority", "i8")):
        array = getattr(traffic, name)
        assert array.shape == (count,) and array.dtype == dtype and array.flags.writeable and array.flags.c_contiguous
    assert np.isfinite(traffic.arrival_s).all() and (np.diff(traffic.arrival_s) >= 0).all() and traffic.arrival_s[0] >= 0
    assert traffic.prompt_tokens.min() >= 1 and traffic.output_tokens.min() >= 1
    assert traffic.rate_rps > 0


FORMS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda n: {"fixed": n}, st.integers(1, 10**6)),
    st.builds(lambda low, more: {"uniform": {"low": low, "high": low + more}}, st.integers(1, 1000), st.integers(0, 1000)),
    st.builds(
        lambda median, sigma, top: {"lognormal": {"median": median, "sigma": sigma, "max": top}},
        st.floats(0.1, 1e5),
        st.floats(0.01, 500),
        st.integers(1, 10**6),
    ),
    st.builds(
        lambda tokens: {"quantiles": {"percent": [0, 50, 100], "tokens": sorted(tokens)}},
        st.lists(st.integers(1, 10**6), min_size=3, max_size=3),
    ),
)
ARRIVALS: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(), st.just({"process": "poisson"}), st.builds(lambda cv: {"process": "gamma", "cv": cv}, st.floats(0.05, 1000))
)


@given(
    prompt=FORMS,
    output=FORMS,
    arrival=ARRIVALS,
    rho=st.floats(-0.99, 0.99),
    count=st.integers(1, 200),
    seed=st.integers(0, 2**63),
    stratified=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_distributions_keep_the_laws(
    prompt: dict[str, Any],
    output: dict[str, Any],
    arrival: dict[str, Any] | None,
    rho: float,
    count: int,
    seed: int,
    stratified: bool,
) -> None:
    workload = Workload.parse({"prompt_tokens": prompt, "output_tokens": output, "arrival": arrival, "copula_rho": rho})
    traffic = draw(workload, count, seed, stratified=stratified)
    check_laws(traffic, count)
    assert traffic.rate_rps == 1.0 and traffic.arrival_s[0] == 0
    if stratified and count > 1:
        assert mean_rate(traffic) == pytest.approx(1, rel=1e-9)
    assert same(traffic, draw(workload, count, seed, stratified=stratified))


@given(count=st.integers(1, 1700), seed=st.integers(0, 2**32), resample=st.booleans(), process=ARRIVALS)
@settings(max_examples=60, deadline=None)
def test_traces_keep_the_laws(trace: str, count: int, seed: int, resample: bool, process: dict[str, Any] | None) -> None:
    workload = Workload.parse({"trace": trace, "arrival": process})
    traffic = draw(workload, count, seed, resample=resample)
    check_laws(traffic, count)
    if count > 1:
        assert mean_rate(traffic) == pytest.approx(traffic.rate_rps, rel=1e-9)
    assert set(traffic.priority.tolist()) <= set(range(ROWS))
    assert same(traffic, draw(workload, count, seed, resample=resample))


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize("data", [{"preset": "chat"}, {"preset": "code_completion"}, {"trace": "wave"}])
def test_other_seeds_are_other_traffic_except_for_what_was_recorded(data: dict[str, str], resample: bool, trace: str) -> None:
    workload = Workload.parse({"trace": trace} if "trace" in data else data)
    first, second = (draw(workload, 200, seed, resample=resample) for seed in (0, 1))
    assert same(first, second) == ("trace" in data and not resample)


def test_lengths_do_not_depend_on_the_arrival_process() -> None:
    poisson, bursty = (
        draw(Workload.parse({"preset": "chat", "arrival": arrival}), 300, 5)
        for arrival in ({"process": "poisson"}, {"process": "gamma", "cv": 4.0})
    )
    assert (poisson.prompt_tokens == bursty.prompt_tokens).all() and (poisson.output_tokens == bursty.output_tokens).all()
    assert not np.array_equal(poisson.arrival_s, bursty.arrival_s)


def test_the_count_is_the_argument_then_num_requests_then_what_there_is(trace: str) -> None:
    for data, whole in (({"preset": "chat"}, 1000), ({"trace": trace}, ROWS)):
        assert len(draw(Workload.parse(data), None, 0)) == whole
        assert len(draw(Workload.parse({**data, "num_requests": 7}), None, 0)) == 7
        assert len(draw(Workload.parse({**data, "num_requests": 7}), 9, 0)) == 9
        with pytest.raises(InputError, match="num_requests: 0"):
            draw(Workload.parse(data), 0, 0)


def test_a_trace_is_replayed_as_it_was_recorded(trace: str) -> None:
    whole = draw(Workload(trace=trace), None, 3)
    assert whole.arrival_s[0] > 10 and whole.notes == ()
    assert (whole.priority == np.arange(ROWS)).all()
    assert whole.rate_rps == pytest.approx(mean_rate(whole)) == own_rate(Workload(trace=trace))
    part = draw(Workload(trace=trace, num_requests=120), None, 4)
    assert part.notes == ("the first 120 of the trace's 500 rows",)
    for name in ("arrival_s", "prompt_tokens", "output_tokens", "priority"):
        assert (getattr(part, name) == getattr(whole, name)[:120]).all()
    assert part.rate_rps == own_rate(Workload(trace=trace, num_requests=120)) != whole.rate_rps


def test_a_trace_that_is_too_short_is_continued_aloud(trace: str) -> None:
    whole, longer = draw(Workload(trace=trace), None, 0), draw(Workload(trace=trace), 5000, 0)
    assert longer.notes == ("the trace's 500 rows were continued to 5,000 by resampling blocks of 25 rows",)
    assert (longer.arrival_s[:ROWS] == whole.arrival_s).all() and (longer.priority[:ROWS] == whole.priority).all()
    assert longer.rate_rps == whole.rate_rps == pytest.approx(mean_rate(longer))
    assert longer.prompt_tokens.mean() == pytest.approx(whole.prompt_tokens.mean(), rel=0.02)
    # Inside a block a row follows the one it followed in the trace.
    assert (np.diff(longer.priority) == 1).mean() > 0.9


def test_resampling_takes_blocks_from_the_whole_trace(trace: str) -> None:
    whole = draw(Workload(trace=trace), None, 0)
    seen: set[int] = set()
    means = []
    for seed in range(40):
        part = draw(Workload(trace=trace), 100, seed, resample=True)
        assert part.rate_rps == whole.rate_rps and part.arrival_s[0] == 0
        assert part.notes == ("100 requests were drawn from the trace's 500 rows in blocks of up to 25 rows",)
        assert part.priority.max() - part.priority.min() > 300
        seen |= set(part.priority.tolist())
        means.append(part.prompt_tokens.mean())
    assert len(seen) > 0.99 * ROWS
    assert np.mean(means) == pytest.approx(whole.prompt_tokens.mean(), rel=0.02)
    assert np.std(means) < 0.1 * np.mean(means)


def test_every_row_is_resampled_as_often() -> None:
    rng = np.random.default_rng(8)
    for rows, count in ((50, 23), (50, 130), (3, 7), (1, 4), (2000, 150)):
        counts = np.bincount(np.concatenate([_blocks.resample(rows, count, rng) for _ in range(3000)]), minlength=rows)
        expected = 3000 * count / rows
        assert len(counts) == rows
        assert np.abs(counts - expected).max() < 6 * np.sqrt(expected) + 1, (rows, count)


def test_even_arrivals_stay_even_when_blocks_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "even.csv"
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *(f"{3 + row / 4},10,1" for row in range(60))]))
    for count, resample in ((200, True), (200, False), (31, True)):
        gaps = np.diff(draw(Workload(trace=str(path)), count, 0, resample=resample).arrival_s)
        assert gaps == pytest.approx(np.full(count - 1, 0.25))


def test_every_part_of_the_randomness_has_its_own_stream() -> None:
    firsts = {stream(11, part).random() for part in STREAMS}
    assert len(firsts) == len(STREAMS)


def test_an_arrival_process_beside_a_trace_takes_its_lengths_and_its_rate(trace: str) -> None:
    replayed = draw(Workload(trace=trace), 300, 0)
    drawn = draw(Workload.parse({"trace": trace, "arrival": {"process": "poisson"}}), 300, 0)
    assert (drawn.prompt_tokens == replayed.prompt_tokens).all() and drawn.rate_rps == replayed.rate_rps
    assert drawn.arrival_s[0] == 0 and mean_rate(drawn) == pytest.approx(replayed.rate_rps)


def test_lengths_without_a_clock_need_a_rate(clockless: str) -> None:
    assert own_rate(Workload(trace=clockless)) is None
    with pytest.raises(InputError, match=r"^workload\.rate_rps: None"):
        draw(Workload(trace=clockless), None, 0)
    for workload, resample in ((Workload(trace=clockless, rate_rps=2.0), False), (Workload(trace=clockless), True)):
        traffic = draw(workload, 50, 0, resample=resample)
        check_laws(traffic, 50)
        assert traffic.rate_rps == 1.0 and any("no arrival times" in note for note in traffic.notes)
        assert (traffic.prompt_tokens == 10 * traffic.output_tokens).all()
    with pytest.raises(InputError, match=r"^workload\.arrival\.process: 'replay' .*gamma, poisson"):
        draw(Workload.parse({"trace": clockless, "arrival": {"process": "replay"}, "rate_rps": 1.0}), None, 0)


def test_requests_at_once_are_replayed_but_have_no_rate_to_scale(at_once: str) -> None:
    assert own_rate(Workload(trace=at_once)) is None
    traffic = draw(Workload(trace=at_once), None, 0)
    check_laws(traffic, 3)
    assert traffic.at(None).tolist() == [0, 0, 0]
    for workload, count, resample in ((Workload(trace=at_once, rate_rps=2.0), None, False), (Workload(trace=at_once), 9, True)):
        with pytest.raises(InputError, match=r"^workload\.trace: .*all arrive at once"):
            draw(workload, count, 0, resample=resample)


def test_first_requests_that_arrive_at_once_take_the_rate_of_the_whole_trace(tmp_path: Path) -> None:
    path = tmp_path / "start.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,1\n0,10,1\n4,10,1\n")
    assert own_rate(Workload(trace=str(path), num_requests=2)) == 0.5
    assert draw(Workload(trace=str(path), rate_rps=2.0), 2, 0).rate_rps == 0.5


def test_a_single_row_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n2.5,10,1\n")
    traffic = draw(Workload(trace=str(path)), None, 0)
    check_laws(traffic, 1)
    assert traffic.arrival_s.tolist() == [2.5]


def test_a_trace_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for rows in (2, 3):
        path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *(f"{row},10,1" for row in range(rows))]))
        assert len(draw(Workload(trace=str(path)), None, 0)) == rows


def test_wrong_workloads_are_told(trace: str, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"preset": "chta"}, r"^workload\.preset: 'chta' .*allowed: chat"),
        ({"preset": "chat", "arrival": {"process": "replay"}}, r"^workload\.arrival\.process: 'replay' .*no trace"),
        ({"preset": "chat", "arrival": {"process": "poisson", "cv": 2.0}}, r"^workload\.arrival\.cv: 2\.0"),
        ({"preset": "chat", "copula_rho": 0.5}, r"^workload\.copula_rho: 0\.5"),
        ({"trace": trace, "copula_rho": 0.5}, r"^workload\.copula_rho: 0\.5"),
        ({"trace": trace, "arrival": {"process": "gamma"}}, r"^workload\.arrival\.cv: None"),
        ({"trace": str(tmp_path / "absent.csv")}, r"^workload\.trace: .*No such file"),
    ]
    for data, message in wrong:
        with pytest.raises(InputError, match=message):
            draw(Workload.parse(data), 10, 0)


def test_stratified_uniforms_have_one_value_in_each_interval_and_keep_the_correlation() -> None:
    for rho in (-0.9, 0.0, 0.5):
        u, v = lengths.copula(5000, rho, np.random.default_rng(9))
        for uniforms in (u, v):
            assert sorted(np.floor(uniforms * 5000).tolist()) == list(range(5000))
        assert 2 * np.sin(np.pi / 6 * np.corrcoef(u, v)[0, 1]) == pytest.approx(rho, abs=0.05)


def test_lengths_follow_their_distribution() -> None:
    u = (np.arange(100_000) + 0.5) / 100_000
    sampled = {
        form: lengths.sample(Lengths.parse({form: value}), u)
        for form, value in {
            "fixed": 64,
            "uniform": {"low": 3, "high": 12},
            "lognormal": {"median": 500.0, "sigma": 0.8, "max": 4000},
            "quantiles": {"percent": [0, 50, 100], "tokens": [10, 20, 1000]},
        }.items()
    }
    assert set(sampled["fixed"]) == {64}
    assert np.bincount(sampled["uniform"]).tolist() == [0, 0, 0] + [10_000] * 10
    lognormal = sampled["lognormal"]
    assert np.median(lognormal) == 500 and lognormal.max() == 4000
    # The share above ln(4000 / 500) / 0.8 = 2.6 sigma is cut to the maximum.
    assert (lognormal == 4000).mean() == pytest.approx(0.00467, abs=2e-4)
    assert np.log(lognormal[lognormal < 4000]).std() == pytest.approx(0.8, rel=0.03)
    quantiles = sampled["quantiles"]
    assert np.percentile(quantiles, [0, 50, 100], method="nearest").tolist() == [10, 20, 1000]
    assert all((np.diff(tokens) >= 0).all() for tokens in sampled.values())


@real
def test_a_study_of_recorded_traffic_sees_the_whole_of_it() -> None:
    workload = Workload(trace=str(TRACES / "azure2023_conv.csv.gz"))
    whole = draw(workload, None, 0)
    assert len(whole) == 19_366 and whole.rate_rps == pytest.approx(5.53, abs=0.005)
    for count, error in ((1000, 0.12), (5000, 0.05), (20_000, 0.02)):
        part = draw(workload, count, 1, resample=True)
        assert part.prompt_tokens.mean() == pytest.approx(whole.prompt_tokens.mean(), rel=error)
        assert part.output_tokens.mean() == pytest.approx(whole.output_tokens.mean(), rel=error)
    longer = draw(workload, 200_000, 0)
    assert longer.notes == ("the trace's 19,366 rows were continued to 200,000 by resampling blocks of 100 rows",)
