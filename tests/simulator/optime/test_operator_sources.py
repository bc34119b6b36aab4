"""Every source keeps the contract of its room, the chain asks them in order, and the roofline is a bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.attended import PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.chain import Chain, open_sources
from simulator.optime.families import Shard, llama
from simulator.optime.operators import AllReduce, Gemm, Ints, Memory, Operator
from simulator.optime.provenance import MEASURED, ROOFLINE, Origin, Priced
from simulator.optime.sources import Context, IterationSource, OperatorSource
from simulator.optime.sources import _aiconfigurator_tables as tables

Make = Callable[..., Context]
SOURCES = catalog.names("sources")


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_what_the_contract_asks_for(name: str, context: Make) -> None:
    module = catalog.module("sources", name, "source")
    assert module.DEFAULT_RANK is None or isinstance(module.DEFAULT_RANK, int)
    assert isinstance(module.available(context()), bool)
    assert module.__doc__
    with pytest.raises(InputError) as caught:
        open_sources(({"source": name, "xyz": 1},), context())
    assert caught.value.field.startswith("profiles.0.xyz")


@pytest.mark.parametrize("name", [n for n in SOURCES if catalog.module("sources", n, "").DEFAULT_RANK is not None])
@pytest.mark.parametrize("size", [1, 4])
def test_a_source_prices_an_operator_whole_or_not_at_all(name: str, size: int, context: Make) -> None:
    here = context(tensor_parallel_size=size)
    module = catalog.module("sources", name, "source")
    if not module.available(here):
        pytest.skip(f"{name} is not available on this machine")
    source = module.open_source(module.Settings(source=name), here, "profiles.0")
    assert isinstance(source, OperatorSource)
    shard, points = Shard.of(here.model, here.deployment), np.array([1, 7, 300, 2048])
    operators = [*llama.token_operators(shard, points, True), *llama.sampled_operators(shard, points)]
    operators += [
        *llama.prefill_operators(shard, points, points - 1),
        *llama.decode_operators(shard, points, points.astype(np.float64)),
    ]
    for operator in operators:
        priced = source.price(operator)
        if priced is not None:
            assert priced.seconds.shape == priced.kinds.shape == points.shape, operator.name
            assert np.all(np.isfinite(priced.seconds)) and np.all(priced.seconds > 0), operator.name
            source.versions(operator)


# The chain


@dataclass
class Known:
    """A source that knows one operator, by its name."""

    name: str
    seconds: float

    def price(self, operator: Operator) -> Priced | None:
        known = operator.name == self.name
        return Priced.of(np.full(operator.tokens.shape, self.seconds), MEASURED) if known else None

    def versions(self, operator: Operator) -> Mapping[str, str]:
        return {"kernel": "1"}

    def token_knots(self) -> Ints:
        return np.array([7, 3])


def test_the_first_source_that_provides_an_operator_prices_it() -> None:
    chain = Chain([("a", Known("norm", 1.0)), ("b", Known("norm", 2.0)), ("c", Known("act", 3.0))])
    rows = np.array([1, 2])
    seconds = chain.seconds([Memory("norm", rows, 2), Memory("act", rows, 2, count=10), Memory("other", rows, 2)])
    assert {name: value.tolist() for name, value in seconds.items()} == {"norm": [1, 1], "act": [30, 30], "other": [0, 0]}
    assert chain.origins["norm"] == Origin(source="a", kind="measured", versions={"kernel": "1"}, points={"measured": 2})
    assert chain.origins["other"] == Origin.absent()
    assert chain.token_knots().tolist() == [3, 7]


def test_an_operator_asked_for_twice_keeps_one_origin() -> None:
    chain = Chain([("a", Known("norm", 1.0))])
    for _ in range(2):
        chain.seconds([Memory("norm", np.array([1, 2]), 2)])
    assert chain.origins["norm"].points == {"measured": 4}


def test_the_default_order_skips_a_package_that_is_not_there(context: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "systems_folder", lambda: None)
    chain = open_sources(None, context())
    assert isinstance(chain, Chain)
    assert [name for name, _ in chain.sources] == ["roofline"]


def test_a_package_asked_for_by_name_must_be_there(context: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "systems_folder", lambda: None)
    monkeypatch.setattr(tables, "installed_version", lambda: "0.11.0")
    with pytest.raises(InputError, match=r"^profiles\.1\.source: .*aiconfigurator-core==0\.12\.0 \(found 0\.11\.0\)$"):
        open_sources(({"source": "roofline"}, {"source": "aiconfigurator"}), context())


@pytest.mark.parametrize(
    ("profiles", "field"),
    [
        ([], "profiles"),
        ([{"source": "roofline"}, {"source": "rooflime"}], "profiles.1.source"),
        ([{}], "profiles.0.source"),
        (["roofline"], "profiles.0"),
        ([{"source": "linear", "base_s": -1.0}], "profiles.0.base_s"),
        ([{"source": "roofline"}, {"source": "linear"}], "profiles.1.source"),
        ([{"source": "linear"}, {"source": "roofline"}], "profiles.0.source"),
    ],
)
def test_wrong_profiles_are_told_by_their_path(context: Make, profiles: Any, field: str) -> None:
    with pytest.raises(InputError) as caught:
        open_sources(profiles, context())
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_source_of_iterations_stands_alone(context: Make) -> None:
    opened = open_sources(({"source": "linear", "base_s": 1e-3},), context())
    assert isinstance(opened, tuple)
    assert opened[0] == "linear"
    assert isinstance(opened[1], IterationSource)


# The roofline


def test_the_roofline_of_a_gemm_turns_from_memory_to_compute(context: Make) -> None:
    device = context().device
    gemm = Gemm("g", np.array([1, 8192]), 6144, 4096, "bfloat16")
    seconds = bound(gemm, device)
    assert seconds is not None
    assert seconds[0] == pytest.approx(gemm.bytes[0] / device.memory_bandwidth_bytes_per_s)
    assert seconds[1] == pytest.approx(gemm.flops[1] / device.peak_flops_per_s["bfloat16"])


def test_the_roofline_grows_with_work(context: Make) -> None:
    chain = open_sources(({"source": "roofline"},), context(tensor_parallel_size=2))
    assert isinstance(chain, Chain)
    shard, points = Shard(context().model, 2, "bfloat16"), np.arange(1, 500)
    operators = [*llama.token_operators(shard, points, True), *llama.sampled_operators(shard, points)]
    operators += [
        *llama.prefill_operators(shard, points, points),
        *llama.decode_operators(shard, points, 2 * points.astype(np.float64)),
    ]
    for name, seconds in chain.seconds(operators).items():
        assert np.all(np.diff(seconds) >= 0), name
        assert seconds[-1] > seconds[0], name


def test_links_are_those_among_so_many_gpus(context: Make) -> None:
    rows = np.array([1024])
    hopper, ada = context().device, context(device="L40S").device
    assert bound(AllReduce("r", rows, 8192, 8), hopper) == pytest.approx(2 * 7 / 8 * 1024 * 8192 / 450e9)
    # Two nodes of eight: within a node over NVLink, while each GPU sends its eighth of the sum to the other node.
    assert bound(AllReduce("r", rows, 8192, 16), hopper) == pytest.approx(2 * 7 / 8 * 1024 * 8192 / 450e9)
    assert bound(AllReduce("r", rows, 8192, 64), hopper) == pytest.approx(2 * 7 / 8 * 1024 * 8192 / 8 / 50e9)
    assert bound(AllReduce("r", rows, 8192, 2), ada) == pytest.approx(1024 * 8192 / 32e9)
    assert bound(AllReduce("r", rows, 8192, 1), ada) == 0


def test_what_a_data_sheet_does_not_state_is_not_priced(context: Make) -> None:
    ada = context(device="L40S").device
    one = np.array([1])
    assert bound(AllReduce("r", one, 8192, 16), ada) is None
    assert bound(PrefillAttention("a", one, one, 8, 1, 128, "nvfp4"), context().device) is None
    chain = open_sources(({"source": "roofline"},), context(device="L40S"))
    assert isinstance(chain, Chain)
    assert chain.seconds([AllReduce("r", one, 8192, 16)])["r"].tolist() == [0]
    assert chain.origins["r"].kind == "absent"
    assert Priced.of(np.ones(1), ROOFLINE).kinds.tolist() == [ROOFLINE]
