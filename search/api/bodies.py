"""Request bodies: JSON objects that OpenAPI shows as the noun they stand for and that are looked at before they are parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Body
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from search import inward
from search.api.errors import Invalid
from search.plan.request import PlanRequest
from search.request import SearchRequest
from simulator.errors import InputError
from simulator.scenario import Scenario
from simulator.spec.base import Spec, every_error

Noun = TypeVar("Noun", bound=Spec)

REQUEST_EXAMPLE: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": [512, 2048]},
    "objectives": ["usd_per_million_output_tokens", "ttft_p99_s"],
    "budget": {"max_gpus": 4, "trials": 20},
}
SCENARIO_EXAMPLE: dict[str, Any] = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"},
    "workload": {"preset": "chat", "rate_rps": 8.0, "num_requests": 1000},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
}


class As:
    """Marks a JSON object that is shown in OpenAPI as a noun; the route parses it, away from the event loop."""

    def __init__(self, noun: type[BaseModel]) -> None:
        self.noun = noun

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self.noun.__pydantic_core_schema__)


RequestBody = Annotated[dict[str, Any], As(SearchRequest), Body(examples=[REQUEST_EXAMPLE])]
PLAN_EXAMPLE: dict[str, Any] = {
    "deployments": [{"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}],
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "demand": {"preset": "chat", "mean_rps": 10},
    "fleet": {"headroom": 0.1, "scaling": {"start_up_s": 600}},
    "check": {"windows": 0},
}
PlanBody = Annotated[dict[str, Any], As(PlanRequest), Body(examples=[PLAN_EXAMPLE])]
ScenarioBody = Annotated[dict[str, Any], As(Scenario), Body(examples=[SCENARIO_EXAMPLE])]


def parsed(noun: type[Noun], data: Mapping[str, Any]) -> Noun:
    """Returns the noun that a body from outside describes; raises InputError or Invalid for what it may not hold."""
    inward.check(data)
    try:
        return noun.model_validate(dict(data))
    except ValidationError as error:
        raise Invalid(every_error(error, noun)) from None
    except InputError as error:
        raise Invalid([error]) from None
