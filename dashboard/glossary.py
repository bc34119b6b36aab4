"""The glossary that ships with the package: tables of words in Markdown, read as words and what they mean."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from dash import html

from dashboard.parts import Content

FILE = Path(__file__).with_name("glossary.md")
_LINK = re.compile(r"\s*\(\[[^\]]*\]\([^)]*\)\)|\[([^\]]*)\]\([^)]*\)")
_MARK = re.compile(r"`([^`]+)`|\*([^*]+)\*")


@cache
def words() -> dict[str, list[tuple[str, str]]]:
    """Returns by table, under what its first column is called, each word with its meaning in Markdown without links."""
    tables: dict[str, list[tuple[str, str]]] = {}
    lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else [] for line in lines]
    for row, below in zip(rows, [*rows[1:], []], strict=True):
        if below and set("".join(below)) <= {"-", ":"}:
            tables[row[0]] = []
        elif len(row) > 1 and set("".join(row)) - {"-", ":"}:
            meaning = _LINK.sub(lambda found: found[1] or "", " | ".join(row[1:]))
            tables[list(tables)[-1]].append((row[0], meaning))
    return tables


def marked(text: str) -> list[Content]:
    """Returns Markdown's code and emphasis within a line as components."""
    found: list[Content] = []
    at = 0
    for match in _MARK.finditer(text):
        found.append(text[at : match.start()])
        found.append(html.Code(match[1]) if match[1] else html.Em(match[2]))
        at = match.end()
    return [*found, text[at:]]
