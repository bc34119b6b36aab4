"""What the tests of operator times share: a deployment, and the context that a source is opened in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator import catalog
from simulator.optime.sources import Context
from simulator.spec.deployment import Resolved
from tests import deployed


@pytest.fixture
def resolved() -> Callable[..., Resolved]:
    """Returns a maker of deployments that differ from the plain one in the fields given."""
    return deployed.resolved


@pytest.fixture
def context(resolved: Callable[..., Resolved]) -> Callable[..., Context]:
    """Returns a maker of contexts for such deployments."""

    def make(**fields: Any) -> Context:
        deployment = resolved(**fields)
        return Context(deployment, catalog.model(deployment.model), catalog.device(deployment.device))

    return make
