"""Exports that a spreadsheet opens: text that begins like a formula is text."""

from __future__ import annotations

import pytest

from search.export import inert


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_made_text(text: str) -> None:
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("cell", [-1.5, 3, None, True, "H100-SXM", "a=b", ""])
def test_other_cells_stay_as_they_are(cell: object) -> None:
    assert inert(cell) == cell
