"""Every file of simulator/arrivals keeps the contract of the folder; what its gaps are is tested in tests/simulator."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from simulator import catalog
from tests.conformance.contract import check, modules


def test_the_known_ones_are_found() -> None:
    assert {"poisson", "gamma", "replay"} <= set(catalog.names("arrivals"))


@pytest.mark.parametrize(("name", "module"), modules("arrivals"))
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, {"TAKES_CV": bool, "RECORDED": bool}, {"gaps": ("count", "cv", "rng")})


@pytest.mark.parametrize(("name", "module"), modules("arrivals"))
def test_its_gaps_are_from_its_generator_alone(name: str, module: ModuleType) -> None:
    if module.RECORDED:
        with pytest.raises(NotImplementedError):
            module.gaps(5, None, np.random.default_rng(0))
        return
    cv = 1.5 if module.TAKES_CV else None
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    one, same, other = (module.gaps(100, cv, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    assert one.shape == (100,) and one.dtype == np.float64 and (one >= 0).all() and np.isfinite(one).all()
    assert np.random.random() == expected, "numpy's own generator is everybody's"
    assert module.gaps(0, cv, np.random.default_rng(1)).shape == (0,)
