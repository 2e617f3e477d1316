"""What a database holds of the pages that are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage import reader
from storage.reader import Snapshot
from storage.records import RegionKind
from tasks.kernels.geometry import Doubles

_PAGES_AT_ONCE = 64
_SIDES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions of a page, in reading order.

    Attributes:
        boxes: (n, 4) fractions of the page.
        texts: what is written in them.
        kinds: what they are.
    """

    boxes: Doubles
    texts: list[str]
    kinds: list[str]


NO_REGIONS = Regions(np.zeros((0, 4)), [], [])


@dataclass(frozen=True, slots=True, eq=False)
class StoredPage:
    """A page as the baselines and the measures of context see it.

    Attributes:
        words: (w, 4) boxes of its words.
        text: all that is written on it.
        regions: those that the baselines choose from.
        lines: its lines.
    """

    words: Doubles
    text: str
    regions: Regions
    lines: Regions


EMPTY_PAGE = StoredPage(np.zeros((0, 4)), "", NO_REGIONS, NO_REGIONS)
"""What there is of a page that could not be ingested."""


def read_pages(
    snapshot: Snapshot, page_ids: Sequence[str], kinds: Sequence[RegionKind]
) -> Iterator[tuple[str, StoredPage]]:
    """Yield pages with their keys, some dozens read at a time.

    Args:
        snapshot: of the database.
        page_ids: distinct keys of pages that are there.
        kinds: kinds of regions that the baselines choose from.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    wanted = {*kinds, RegionKind.WORD, RegionKind.LINE}
    for start in range(0, len(page_ids), _PAGES_AT_ONCE):
        chunk = page_ids[start : start + _PAGES_AT_ONCE]
        texts = reader.page_texts(snapshot, chunk)
        table = reader.read_regions(snapshot, chunk, wanted)
        for page_id in chunk:
            of_page = table.filter(pc.equal(table["page_id"], page_id))
            yield (
                page_id,
                StoredPage(
                    _regions(of_page, [RegionKind.WORD]).boxes,
                    texts[page_id],
                    _regions(of_page, kinds),
                    _regions(of_page, [RegionKind.LINE]),
                ),
            )


def _regions(table: pa.Table, kinds: Sequence[RegionKind]) -> Regions:
    """Take the regions of some kinds; kind by kind as they are stored, in reading order."""
    names = pa.array([kind.value for kind in kinds], pa.string())
    rows = table.filter(pc.is_in(table["kind"], value_set=names))
    sides = [rows[side].to_numpy().astype(np.float64) for side in _SIDES]
    return Regions(np.stack(sides, axis=1), rows["text"].to_pylist(), rows["kind"].to_pylist())
