"""Guards which places of a page are its spans, on small pages by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.storage.records import RegionKind
from patchlight.tasks.grounding.spans import COMPETING, MOST, VALUES, Spans, spans_of, values_of
from tests.region_examples import page_of

PARAGRAPH, BLOCK = RegionKind.PARAGRAPH, RegionKind.BLOCK
Box = tuple[float, float, float, float]


def spans(*regions: tuple[RegionKind, Box], order: list[int] | None = None) -> Spans:
    boxes = np.array([box for _, box in regions], dtype=np.float64).reshape(-1, 4)
    return spans_of(page_of([kind for kind, _ in regions], boxes, order))


def column(n: int, gap: float = 0.02) -> list[tuple[RegionKind, Box]]:
    """Paragraphs under each other."""
    step = 0.05 + gap
    return [(PARAGRAPH, (0.1, 0.05 + i * step, 0.4, 0.1 + i * step)) for i in range(n)]


def test_a_page_without_regions_that_answer_has_no_span() -> None:
    for regions in ((), ((RegionKind.WORD, (0, 0, 0.1, 0.1)), (RegionKind.CELL, (0, 0, 1, 1)))):
        found = spans(*regions)
        assert len(found) == 0 and found.boxes.shape == (0, 4) and found.runs.shape == (0,)


def test_regions_by_the_rank_of_their_kinds_then_runs() -> None:
    found = spans(
        (PARAGRAPH, (0.1, 0.3, 0.4, 0.4)),  # second in reading order
        (RegionKind.LINE, (0.1, 0.1, 0.4, 0.12)),
        (PARAGRAPH, (0.1, 0.1, 0.4, 0.28)),
        (RegionKind.FIGURE, (0.5, 0.1, 0.9, 0.4)),
        order=[1, 0, 0, 0],
    )
    assert found.kinds == (RegionKind.FIGURE, PARAGRAPH, PARAGRAPH, PARAGRAPH)
    assert found.members == ((3,), (0,), (2,), (2, 0))
    assert found.boxes[3].tolist() == [0.1, 0.1, 0.4, 0.4]
    assert found.runs.tolist() == [False, False, False, True]


def test_a_run_ends_at_a_wide_gap_and_at_the_next_column() -> None:
    found = spans(
        (PARAGRAPH, (0.1, 0.10, 0.4, 0.20)),
        (PARAGRAPH, (0.1, 0.25, 0.4, 0.30)),  # 0.05 below
        (PARAGRAPH, (0.1, 0.37, 0.4, 0.45)),  # 0.07 below
        (PARAGRAPH, (0.5, 0.10, 0.9, 0.20)),
        (PARAGRAPH, (0.8, 0.22, 1.0, 0.30)),  # half of it under the last
        (PARAGRAPH, (0.95, 0.32, 1.0, 0.36)),  # under the run, though not under its first
    )
    runs = [rows for rows in found.members if len(rows) > 1]
    assert runs == [(0, 1), (3, 4), (4, 5), (3, 4, 5)]


def test_blocks_and_paragraphs_make_no_run_together() -> None:
    found = spans((PARAGRAPH, (0.1, 0.1, 0.4, 0.2)), (BLOCK, (0.1, 0.2, 0.4, 0.3)))
    assert found.members == ((0,), (1,))


def test_a_run_has_six_members_at_most() -> None:
    found = spans(*column(8))
    by_length = [sum(len(rows) == n for rows in found.members) for n in range(1, 9)]
    assert by_length == [8, 7, 6, 5, 4, 3, 0, 0]


def test_of_nearly_equal_ones_the_first_stays() -> None:
    found = spans(
        (RegionKind.SECTION, (0.1, 0.1, 0.4, 0.3)),  # as the run of both paragraphs
        (PARAGRAPH, (0.1, 0.1, 0.4, 0.2)),
        (PARAGRAPH, (0.1, 0.2, 0.4, 0.3)),
        (RegionKind.EXHIBIT, (0.5, 0.5, 0.9, 0.91)),  # IoU 40/41 with the table
        (RegionKind.TABLE, (0.5, 0.5, 0.9, 0.9)),
    )
    assert found.kinds == (RegionKind.TABLE, PARAGRAPH, PARAGRAPH, RegionKind.SECTION)
    assert found.members == ((4,), (1,), (2,), (0,))
    apart = spans(
        (RegionKind.EXHIBIT, (0.5, 0.5, 0.9, 0.95)),  # IoU 8/9
        (RegionKind.TABLE, (0.5, 0.5, 0.9, 0.9)),
    )
    assert apart.members == ((1,), (0,))


def test_a_crowded_page_keeps_its_regions() -> None:
    regions = [
        (PARAGRAPH, (x / 4, y / 20, x / 4 + 0.2, y / 20 + 0.04))
        for x in range(4)
        for y in range(20)
    ]
    found = spans(*regions)
    assert len(found) == MOST
    assert found.members[:80] == tuple((i,) for i in range(80))


def test_every_kind_is_ranked_once() -> None:
    assert len(set(COMPETING)) == len(COMPETING)
    assert not {RegionKind.WORD, RegionKind.LINE, RegionKind.CELL} & set(COMPETING)


def test_a_long_page_has_runs_everywhere() -> None:
    """Of a page with too many spans the longest runs are left out, not those at its end."""
    found = spans(*((PARAGRAPH, (0.1, y / 100, 0.9, (y + 0.9) / 100)) for y in range(100)))
    assert len(found) == MOST
    assert {(row, row + 1) for row in range(99)} <= set(found.members)


LINE, CELL = RegionKind.LINE, RegionKind.CELL
FORM = (
    (RegionKind.WORD, (0.1, 0.1, 0.2, 0.15)),
    (CELL, (0.1, 0.5, 0.4, 0.6)),
    (LINE, (0.1, 0.1, 0.4, 0.15)),
    (PARAGRAPH, (0.1, 0.1, 0.4, 0.3)),
    (LINE, (0.1, 0.5, 0.4, 0.601)),  # nearly the cell
    (CELL, (0.5, 0.5, 0.9, 0.6)),
    (LINE, (0.5, 0.5, 0.9, 0.62)),  # IoU 5/6 with the second cell
)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({LINE}, (2, 4, 6)),
        ({CELL}, (1, 5)),
        ({LINE, CELL}, (1, 2, 5, 6)),
        (set(RegionKind), (1, 2, 5, 6)),
        ({RegionKind.WORD, PARAGRAPH}, ()),
        (set(), ()),
    ],
)
def test_values_are_lines_and_cells_by_row(wanted: set[RegionKind], rows: tuple[int, ...]) -> None:
    kinds, boxes = [kind for kind, _ in FORM], np.array([box for _, box in FORM])
    found = values_of(page_of(kinds, boxes), wanted)
    assert found.members == tuple((row,) for row in rows)
    assert found.kinds == tuple(kinds[row] for row in rows)
    assert found.boxes.tolist() == boxes[list(rows)].tolist()
    assert not found.runs.any()


def test_of_too_many_values_the_later_ones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchlight.tasks.grounding.spans._MOST_VALUES", 3)
    boxes = np.array([(0.1, y / 10, 0.9, (y + 1) / 10) for y in range(5)])
    assert values_of(page_of([LINE] * 5, boxes), VALUES).members == ((0,), (1,), (2,))
