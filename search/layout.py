"""Tables that fit: columns are shown whole, else with short cells, else without those that matter least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

BETWEEN = 2


@dataclass(frozen=True)
class Column:
    """A column of texts; `short` are its cells broken into lines, `weight` 0 is never left out, the highest is first."""

    title: str
    cells: Sequence[str]
    weight: int = 0
    justify: Literal["left", "right"] = "right"
    short: Sequence[str] | None = None

    @property
    def width(self) -> int:
        """The columns of the screen that the longest line takes."""
        from rich.cells import cell_len

        return max((cell_len(line) for text in (self.title, *self.cells) for line in text.split("\n")), default=0)

    def shortened(self) -> Column:
        """Returns the column with its short cells, where it has them."""
        return self if self.short is None else Column(self.title, self.short, self.weight, self.justify)


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Returns the columns that fit into `width` in their order, shortened and left out only as far as they must be."""
    if _total(columns) <= width:
        return list(columns)
    kept: list[Column] = []
    for column in sorted(columns, key=lambda column: column.weight):
        if column.weight == 0 or _total([each.shortened() for each in (*kept, column)]) <= width:
            kept.append(column)
    shown = [column.shortened() for column in columns if column in kept]
    # What is left of the width goes to whole cells, the last column first: the deployment needs the most.
    for place, column in reversed(list(enumerate(column for column in columns if column in kept))):
        whole = [*shown[:place], column, *shown[place + 1 :]]
        if _total(whole) <= width:
            shown = whole
    return shown


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + BETWEEN * (len(columns) - 1)


def show(console: Console, columns: Sequence[Column]) -> None:
    """Prints the columns that fit the console side by side, their titles above."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, BETWEEN - 1, 0, 0))
    shown = fitted(columns, console.width)
    for column in shown:
        table.add_column(Text(column.title), justify=column.justify, vertical="top", overflow="fold", no_wrap=True)
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
