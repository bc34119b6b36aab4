from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from dashboard.figures.theme import CONFIG, DARK, LIGHT, Palette, colors, dark_for_light, scale

Floats = NDArray[np.float64]
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
}
# Ottosson 2020: linear RGB to cone responses, their cube roots to OKLab.
TO_CONES = np.array([[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.6806995, 0.10739696], [0.08830246, 0.28171884, 0.6299787]])
TO_LAB = np.array(
    [[0.21045426, 0.79361779, -0.00407205], [1.9779985, -2.4285922, 0.4505937], [0.02590404, 0.78277177, -0.80867577]]
)
DISTINCT = 0.1


def linear(color: str) -> Floats:
    parts = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    rgb: Floats = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return rgb


def lab(color: str, sight: Floats) -> Floats:
    seen: Floats = TO_LAB @ np.cbrt(np.clip(TO_CONES @ np.clip(sight @ linear(color), 0, 1), 0, None))
    return seen


def contrast(color: str, ground: str) -> float:
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (color, ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_marks_stay_apart_for_the_colour_blind(palette: Palette, sight: str) -> None:
    seen = [lab(color, SIGHT[sight]) for color in palette.marks]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > DISTINCT


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_and_text_stand_out_from_their_ground(palette: Palette) -> None:
    assert min(contrast(color, palette.surface) for color in palette.marks) >= 3
    assert min(contrast(color, palette.surface) for color in (palette.ink, palette.muted, palette.limit)) >= 4.5


def test_every_light_colour_has_one_dark_counterpart() -> None:
    swap = dark_for_light()
    assert len(swap) == 5 + len(LIGHT.marks)
    assert swap[LIGHT.ink] == DARK.ink
    assert [swap[color] for color in LIGHT.marks] == list(DARK.marks)
    # A colour that is both would be swapped twice when a page is turned dark.
    assert not set(swap) & set(swap.values())


def test_a_device_has_one_colour_whatever_the_order() -> None:
    assert colors(["L40S", "H100-SXM", "L40S"]) == colors(["H100-SXM", "L40S"])
    assert len(set(colors([f"device {index}" for index in range(8)]).values())) == 8


@pytest.mark.parametrize(
    ("values", "kind"), [([0.1, 0.2, 1.9], "linear"), ([0.1, 5.0], "log"), ([0.0, 1.0], "linear"), ([], "linear")]
)
def test_an_axis_is_logarithmic_where_its_values_span_widely(values: list[float], kind: str) -> None:
    assert scale(values) == kind


def test_no_chart_offers_an_upload() -> None:
    assert "sendChartToCloud" in CONFIG["modeBarButtonsToRemove"]
    assert CONFIG["displaylogo"] is False
