"""Capacity plans: a fleet over a week, what it costs, and what a budget buys.

`plan(request, store)` is the whole answer; `what_if(plan, changes)` recomputes one from the curves in it without simulating.
"""

from search.plan.document import Plan
from search.plan.planning import plan, what_if
from search.plan.request import PlanRequest, read

__all__ = ["Plan", "PlanRequest", "plan", "read", "what_if"]
