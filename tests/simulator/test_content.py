"""Content: two requests have a block in common exactly when they have all tokens up to its end in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import content
from simulator.content import Content, Ints, Texts
from simulator.errors import InputError

FEW = st.integers(1, 40)


def shared(found: Content, first: int, second: int) -> int:
    """Returns how many leading blocks two requests have in common; no other block may be."""
    one, two = found.of(first).tolist(), found.of(second).tolist()
    run = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    assert not set(one[run:]) & set(two[run:])
    return run


def spelled(texts: Texts, row: int, tokens: int) -> list[tuple[str, int, int]]:
    """Returns the tokens of a request one by one: whose they are, and their place."""
    system = [("group", int(texts.group[row]), place) for place in range(int(texts.shared_tokens[row]))]
    return (system + [("text", int(texts.text[row]), place) for place in range(tokens)])[:tokens]


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), FEW, FEW), min_size=1, max_size=12),
    systems=st.lists(st.integers(0, 30), min_size=4, max_size=4),
    size=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_drawn_texts_have_in_common_what_their_tokens_say(rows: list[tuple[int, int, int]], systems: list[int], size: int) -> None:
    text = np.array([row[0] for row in rows])
    prompt, output = (np.array([row[part] for row in rows]) for part in (1, 2))
    # Two of the four texts have a system prompt of the first group, one of the second, one none.
    group = np.array([0, 0, 1, -1])[text]
    texts = Texts(group, np.where(group >= 0, np.array(systems)[text], 0), text)
    found = texts.blocks(prompt, output, size)
    assert found.block_tokens == size and len(found) == len(rows)
    for i in range(len(rows)):
        assert len(found.of(i)) == (prompt[i] + output[i]) // size
        for j in range(i):
            one, two = (spelled(texts, row, int(prompt[row] + output[row])) for row in (i, j))
            same = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
            if text[i] == text[j]:
                assert shared(found, i, j) == same // size
            else:
                assert shared(found, i, j) == min(same, systems[text[i]], systems[text[j]]) // size


def hashed(size: int, *rows: list[int]) -> Content:
    starts = np.cumsum([0, *map(len, rows)])
    return Content(np.array([one for row in rows for one in row], np.int64), starts, size, outputs=False)


def tokens(*counts: int) -> Ints:
    return np.array(counts, np.int64)


@pytest.mark.parametrize(("size", "common"), [(16, 32), (512, 1), (256, 2), (1024, 0), (384, 1), (100, 5), (513, 0)])
def test_hashes_are_split_and_merged(size: int, common: int) -> None:
    found = hashed(512, [7, 8], [7, 9]).blocks(tokens(1024, 1000), tokens(300, 400), size)
    assert shared(found, 0, 1) == common
    assert [len(found.of(row)) for row in (0, 1)] == [1324 // size, 1400 // size]


@given(
    rows=st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=5), st.integers(1, 8), FEW), min_size=1, max_size=8),
    size=st.integers(1, 25),
)
@settings(max_examples=200, deadline=None)
def test_hashes_of_any_size_share_what_is_known_to_be_equal(rows: list[tuple[list[int], int, int]], size: int) -> None:
    # The id of a block of 8 is its whole path, so that equal ids are equal tokens after equal tokens.
    paths = [[int("1" + "".join(map(str, path[: place + 1])), 2) for place in range(len(path))] for path, _, _ in rows]
    prompt = np.array([max(8 * len(path) - 8 + last, 1) for path, last, _ in rows])
    output = np.array([row[2] for row in rows])
    found = hashed(8, *paths).blocks(prompt, output, size)
    assert found.ids.min(initial=0) >= 0
    for i in range(len(rows)):
        for j in range(i):
            equal = next((n for n, (a, b) in enumerate(zip(paths[i], paths[j], strict=False)) if a != b), 99)
            known = min(8 * min(equal, len(paths[i]), len(paths[j])), int(prompt[i]), int(prompt[j]))
            assert shared(found, i, j) == known // size


def test_recorded_blocks_of_the_deployment_cover_outputs_and_have_its_size() -> None:
    recorded = Content(np.array([0, 1, 2, 0, 1]), np.array([0, 3, 5]), 0)
    found = recorded.blocks(tokens(32, 40), tokens(16, 8), 16)
    assert shared(found, 0, 1) == 2 and len(found.of(1)) == 3
    with pytest.raises(InputError, match=r"blocks of request 0\): 3 .*at most 1 for its 48 tokens in blocks of 32"):
        recorded.blocks(tokens(32, 40), tokens(16, 8), 32)


def test_long_content_is_numbered_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    prompt, output = rng.integers(1, 90, 50), rng.integers(1, 90, 50)
    texts = Texts(np.zeros(50, np.int64), np.full(50, 33), np.arange(50) // 2)
    recorded = Content(np.arange(50) // 3, np.arange(51), 1000, outputs=False)
    whole = [each.blocks(prompt, output, 4).ids.tolist() for each in (texts, recorded)]
    monkeypatch.setattr(content, "PORTION", 7)
    assert whole == [each.blocks(prompt, output, 4).ids.tolist() for each in (texts, recorded)]


def test_nothing_at_all_has_no_blocks() -> None:
    assert len(hashed(512, [], []).blocks(tokens(3, 4), tokens(1, 1), 16).ids) == 0
