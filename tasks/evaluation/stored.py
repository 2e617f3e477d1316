"""What a database holds of the pages that are scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from patchlight.storage import reader
from patchlight.storage.reader import Snapshot
from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.kernels.geometry import Doubles

_PAGES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPage:
    """A page as the baselines and the measures of context see it.

    Attributes:
        words: (w, 4) boxes of its words.
        text: all that is written on it.
        regions: those that the baselines choose from, kind by kind as they are stored, each
            kind in reading order.
        lines: its lines.
    """

    words: Doubles
    text: str
    regions: Regions
    lines: Regions


def read_pages(
    snapshot: Snapshot, pages: Mapping[str, int], kinds: Sequence[RegionKind]
) -> Iterator[tuple[str, MeasuredPage]]:
    """Yield pages with their keys, some dozens read at a time.

    Args:
        snapshot: of the database.
        pages: page_id -> page_key, of pages that are there.
        kinds: kinds of regions that the baselines choose from.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    wanted = {*kinds, RegionKind.WORD, RegionKind.LINE}
    rest = iter(pages.items())
    while chunk := dict(islice(rest, _PAGES_AT_ONCE)):
        texts = reader.page_texts(snapshot, chunk)
        stored = reader.read_regions(snapshot, chunk, wanted)
        for page_id in chunk:
            regions = stored[page_id]
            yield (
                page_id,
                MeasuredPage(
                    regions.only(RegionKind.WORD).boxes,
                    texts[page_id],
                    regions.only(*kinds),
                    regions.only(RegionKind.LINE),
                ),
            )
