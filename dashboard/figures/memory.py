"""The memory of one GPU: what takes how much of it."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank

GIB = 2**30


def figure(parts: Sequence[tuple[str, float]], whole_bytes: float) -> go.Figure:
    """Returns one bar of (name, bytes) side by side, and what is left of `whole_bytes`."""
    drawing = blank(150)
    drawing.update_xaxes(title_text="GiB of one GPU", range=[0, whole_bytes / GIB], showgrid=False)
    drawing.update_yaxes(showticklabels=False)
    left = whole_bytes - sum(size for _, size in parts)
    shown = [*parts, *([("not used", left)] if left > 0 else [])]
    for place, (name, size) in enumerate(shown):
        color = LIGHT.grid if name == "not used" else LIGHT.marks[place % len(LIGHT.marks)]
        drawing.add_bar(
            x=[size / GIB],
            y=["memory"],
            orientation="h",
            name=name,
            marker={"color": color, "line": {"color": LIGHT.surface, "width": 1}},
            hovertemplate=f"{name}: %{{x:.2f}} GiB, {size / whole_bytes:.1%}<extra></extra>",
        )
    drawing.update_layout(barmode="stack", legend={"traceorder": "normal"}, margin={"t": 8, "l": 16})
    return drawing
