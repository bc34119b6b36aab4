"""What the help page tells: how an answer is obtained, and how to find one's way."""

from __future__ import annotations

from collections.abc import Sequence

METHOD: Sequence[tuple[str, str]] = (
    (
        "Every legal deployment",
        "The values of your knobs are combined; what the engine, the GPUs' memory or the price book rule out is dropped, "
        "and each reason is told on the study's page.",
    ),
    (
        "Times of operators",
        "What each kernel takes on the SKU comes from measurements where there are any, in between and beyond from rules; "
        "a trial says which, kernel kind by kernel kind.",
    ),
    (
        "An iteration's price",
        "Those times and the engine's own host time make a list of what every possible step costs.",
    ),
    (
        "Request by request",
        "Your traffic plays against the scheduler of the real engine, step by step: batches, chunks, cached prefixes, "
        "preemptions, queues. Each request gets its own times.",
    ),
    (
        "Capacity",
        "The load rises until a bound of the SLO breaks or the backlog grows. The capacity is an interval, not a number, "
        "since arrivals are drawn; its low end is the one to plan with.",
    ),
    (
        "Less and less doubt",
        "All deployments are screened on 1,000 requests; what their intervals do not rule out is scored again on 20,000; "
        "finalists are published from 100,000 with four fresh seeds.",
    ),
    (
        "The frontier",
        "What no other operating point beats in every objective. What cannot be told apart is called a tie.",
    ),
    (
        "Expected error",
        "Beside the sampling interval every answer says how far it may be off: from the known errors of its operator "
        "times, and from the nearest case that was measured on a real engine.",
    ),
)
HINTS: Sequence[tuple[str, str]] = (
    (
        "Address",
        "The address of a page holds what you see: axes, colours, limits, words. Copy it to share a view; a half-written "
        "search too.",
    ),
    (
        "Keyboard",
        "Tab goes from control to control, Shift Tab back; the first Tab of a page offers to skip the bar. Arrow keys "
        "move sliders; Enter or Space opens a list, and typing finds in it. Escape closes it.",
    ),
    (
        "Charts",
        "Draw across an area to zoom, double-click to go back; a click on a name in the legend hides it, a double-click "
        "shows it alone. Hover for exact figures.",
    ),
    (
        "Tables of trials",
        "A click on a head sorts in the database; the funnel filters. A row opens its trial. CSV, JSON and an offline "
        "page are at the top of a study.",
    ),
    (
        "Light and dark",
        "As your system is, until you choose at the top right.",
    ),
    (
        "While it runs",
        "A study's frontier grows as trials end; leave the page when you like. Cancel keeps what was scored, Go on takes it up.",
    ),
    (
        "Command line",
        "trimtab search REQUEST.yaml takes the very YAML of a new search; trimtab --server URL works on this service; "
        "/api/v1/openapi.json describes the REST API.",
    ),
)
