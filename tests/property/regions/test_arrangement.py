"""Every region has one place in reading order, and cells have theirs in their tables."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from patchlight.storage.records import RegionKind, Word
from patchlight.tasks.regions.arrangement import arrangement_of
from patchlight.tasks.regions.proposals import BesideWords
from tests.property.regions.test_proposals import proposed, seen, words
from tests.region_examples import record_of


@settings(max_examples=60, deadline=None)
@given(words(), seen())
def test_regions_have_places_that_fit_together(some: list[Word], look: BesideWords) -> None:
    regions = record_of(proposed(some, look))
    found = arrangement_of(regions)
    assert sorted(found.order.tolist()) == list(range(len(regions)))
    for kind in RegionKind:
        rows = regions.rows(kind)
        own = np.argsort(regions.order[rows], kind="stable")
        assert (np.diff(found.order[rows][own]) > 0).all()  # each kind in its own order
    for row in range(len(regions)):  # what holds comes before what is held
        if regions.kind(row) in (RegionKind.WORD, RegionKind.LINE, RegionKind.PARAGRAPH):
            assert regions.parent[row] >= 0
            assert found.order[regions.parent[row]] < found.order[row]
    for kind in (RegionKind.ROW, RegionKind.COLUMN, RegionKind.CELL):
        for row in regions.rows(kind):
            if found.table[row] >= 0:
                assert regions.kind(int(found.table[row])) is RegionKind.TABLE
    counts = {
        kind: np.bincount(found.table[regions.rows(kind)] + 1, minlength=len(regions) + 1)
        for kind in (RegionKind.ROW, RegionKind.COLUMN)
    }
    for row in regions.rows(RegionKind.CELL):
        table = found.table[row] + 1
        for kind, at, span in (
            (RegionKind.ROW, found.row[row], found.row_span[row]),
            (RegionKind.COLUMN, found.col[row], found.col_span[row]),
        ):
            assert (at < 0) == (span < 0)
            assert at + span <= counts[kind][table] or at < 0
