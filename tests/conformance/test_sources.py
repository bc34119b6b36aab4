"""Every file of simulator/optime/sources keeps the contract of the folder, and so does every model family."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.families import Shard
from simulator.optime.sources import Context, IterationSource, OperatorSource
from simulator.spec.base import Spec
from tests.conformance.contract import check, modules
from tests.invariants.cases import resolved

CONTEXT = Context(resolved(), catalog.model("meta-llama/Llama-3.1-8B"), catalog.device("H200-SXM"))


def opened(name: str, module: ModuleType) -> object:
    """Returns the source with its default settings; skips where what it needs is not there or has no default."""
    try:
        return module.open_source(module.Settings.parse({"source": name}, "profiles.0"), CONTEXT, "profiles.0")
    except InputError as error:
        pytest.skip(f"not without settings or a package: {error}")


def test_the_known_ones_are_found() -> None:
    assert {"roofline", "linear", "aiconfigurator"} <= set(catalog.names("sources"))
    assert "llama" in catalog.names("families")


@pytest.mark.parametrize(("name", "module"), modules("sources"))
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, {"DEFAULT_RANK": int | None}, {"available": ("context",), "open_source": ("settings", "context", "field")})
    assert issubclass(module.Settings, Spec)
    assert module.Settings.model_fields["source"].default == name, "the file name is the name in requests"


@pytest.mark.parametrize(("name", "module"), modules("sources"))
def test_its_settings_are_strict(name: str, module: ModuleType) -> None:
    with pytest.raises(InputError, match=r"^profiles\.0\."):
        module.Settings.parse({"source": name, "no_such_setting": 1}, "profiles.0")


@pytest.mark.parametrize(("name", "module"), modules("sources"))
def test_it_is_asked_by_default_only_where_it_can_price(name: str, module: ModuleType) -> None:
    able = module.available(CONTEXT)
    assert isinstance(able, bool)
    if able and module.DEFAULT_RANK is not None:
        assert isinstance(opened(name, module), OperatorSource)


def test_ranks_are_distinct() -> None:
    ranks = [module.DEFAULT_RANK for _, module in modules("sources") if module.DEFAULT_RANK is not None]
    assert len(ranks) == len(set(ranks)) > 0


@pytest.mark.parametrize(("name", "module"), modules("sources"))
def test_what_it_opens_prices_operators_or_iterations(name: str, module: ModuleType) -> None:
    source = opened(name, module)
    assert isinstance(source, OperatorSource) != isinstance(source, IterationSource), "one of the two kinds"
    if isinstance(source, IterationSource):
        priced_iterations(source)
    elif isinstance(source, OperatorSource):
        priced_operators(source)


def priced_iterations(source: IterationSource) -> None:
    knots = source.knots(CONTEXT)
    assert source.token_seconds(np.arange(5)).shape == (3, 5)
    assert source.sample_seconds(np.arange(5)).shape == (5,)
    assert source.decode_seconds(knots.decode_batch, knots.decode_kv).shape == (len(knots.decode_batch), len(knots.decode_kv))
    assert source.prefill_seconds(knots.prefill_chunk, knots.prefill_kv).shape == (len(knots.prefill_chunk), len(knots.prefill_kv))


def priced_operators(source: OperatorSource) -> None:
    shard = Shard(CONTEXT.model, 1, CONTEXT.deployment.dtype)
    tokens = np.array([1, 64, 2048])
    family = catalog.module("families", CONTEXT.model.family, "family")
    for operator in family.token_operators(shard, tokens, False):
        priced = source.price(operator)
        if priced is not None:
            assert priced.seconds.shape == priced.kinds.shape == tokens.shape
            assert np.isfinite(priced.seconds).all() and (priced.seconds >= 0).all()
            assert all(isinstance(text, str) for pair in source.versions(operator).items() for text in pair)
    assert source.token_knots().dtype == np.int64


# Families


@pytest.mark.parametrize(("name", "module"), modules("families"))
def test_a_family_keeps_the_contract(name: str, module: ModuleType) -> None:
    functions = {
        "check": ("shard",),
        "token_operators": ("shard", "tokens", "captured"),
        "sampled_operators": ("shard", "sampled"),
        "prefill_operators": ("shard", "chunk", "kv_before"),
        "decode_operators": ("shard", "batch", "kv_mean"),
    }
    check(module, {}, functions)


@pytest.mark.parametrize(("name", "module"), modules("families"))
def test_a_family_gives_operators_of_distinct_names(name: str, module: ModuleType) -> None:
    members = [m for m in map(catalog.model, catalog.names("models")) if m.family == name]
    assert members, f"no model of the catalog is of the family {name}"
    points = np.array([1, 16, 256])
    for model in members:
        shard = Shard(model, 1, "bfloat16")
        module.check(shard)
        operators = [
            *module.token_operators(shard, points, False),
            *module.sampled_operators(shard, points),
            *module.prefill_operators(shard, points, points),
            *module.decode_operators(shard, points, points.astype(float)),
        ]
        names = [operator.name for operator in operators]
        assert len(names) == len(set(names))
        assert all(operator.count >= 1 for operator in operators)
