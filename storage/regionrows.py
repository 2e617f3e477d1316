"""Strict conversion of a page's regions to the lists of the table ``regions``, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import KINDS, Regions
from patchlight.storage.schema import BOX, Table, schema_of

_KIND_NAMES = pa.array([kind.value for kind in KINDS], pa.string())
"""The names of kinds by their codes."""


def check(regions: Regions) -> None:
    """Refuse regions that are not all of a page, or that no page can have.

    Raises:
        ValueError: an index, a parent, a box or a confidence does not fit; the message names the
            first region of which that is so.
    """
    index, parent, confidence = regions.index, regions.parent, regions.confidence
    at_place = index == np.arange(len(regions))
    held = (parent >= -1) & (parent < len(regions))
    # As they are stored: float32 may close a gap that float64 has.
    with np.errstate(over="ignore"):
        x0, y0, x1, y1 = regions.boxes.astype(np.float32).T
    on_page = (x0 >= 0) & (x0 < x1) & (x1 <= 1) & (y0 >= 0) & (y0 < y1) & (y1 <= 1)
    trusted = (confidence >= 0) & (confidence <= 1)
    good = at_place & held & on_page & trusted
    if good.all():
        return
    row = int(np.argmin(good))
    if not at_place[row]:
        raise ValueError(f"region {index[row]} at position {row}")
    if not held[row]:
        raise ValueError(f"region {row} has parent {parent[row]}, which is not there")
    if not on_page[row]:
        box = tuple(regions.boxes[row].tolist())
        raise ValueError(f"region {row} is off the page, inverted or empty: {box}")
    raise ValueError(f"region {row} has confidence {confidence[row]}")


def lists_of(pages: Sequence[Regions]) -> pa.ListArray:
    """Convert pages; boxes and confidence are rounded to float32.

    Args:
        pages: their regions, which `check` lets pass; it is not asked again here.

    Returns:
        A list a page.
    """
    kind = schema_of(Table.REGIONS, dim=1).field("regions").type
    if not pages:
        return pa.array([], kind)
    regions = Regions.joined(pages)
    sides = regions.boxes.astype(np.float32).T
    columns = {
        "index": regions.index,
        "kind": _KIND_NAMES.take(pa.array(regions.codes)),
        "parent": regions.parent,
        "reading_order": regions.order,
        **{name: np.ascontiguousarray(side) for name, side in zip(BOX, sides, strict=True)},
        "text": regions.texts,
        "confidence": regions.confidence.astype(np.float32),
    }
    fields = kind.value_type.fields
    arrays = [pa.array(columns[field.name], field.type) for field in fields]
    offsets = np.concatenate([[0], np.cumsum([len(page) for page in pages])])
    structs = pa.StructArray.from_arrays(arrays, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=kind)


def regions_of(lists: pa.ListArray, kinds: Iterable[RegionKind] | None = None) -> list[Regions]:
    """Convert lists back.

    Args:
        lists: of the column ``regions``, a list a page.
        kinds: which kinds; None for all.

    Raises:
        ValueError: a region is of a kind that this version does not know.
    """
    if not len(lists):
        return []
    structs, ends = lists.flatten(), _ends(lists)
    if kinds is not None:
        wanted = pa.array([kind.value for kind in kinds], pa.string())
        chosen = pc.is_in(structs.field("kind"), value_set=wanted)
        ends = np.concatenate([[0], np.cumsum(chosen.to_numpy(zero_copy_only=False))])[ends]
        structs = structs.filter(chosen)
    together = _regions_of(structs)
    return [together.part(*pair) for pair in pairwise(ends.tolist())]


def words_of(lists: pa.ListArray) -> list[Regions]:
    """Convert the words in lists, in reading order, to regions that belong to nothing."""
    found = []
    for words in regions_of(lists, [RegionKind.WORD]):
        words = words.take(np.argsort(words.order, kind="stable"))
        found.append(Regions.of_kind(words.boxes, RegionKind.WORD, words.texts, words.confidence))
    return found


def _regions_of(structs: pa.StructArray) -> Regions:
    codes = pc.index_in(structs.field("kind"), value_set=_KIND_NAMES)
    if codes.null_count:
        unknown = sorted(set(structs.field("kind").filter(codes.is_null()).to_pylist()))
        raise ValueError(f"regions of unknown kinds: {', '.join(unknown)}")
    sides = [structs.field(name).to_numpy() for name in BOX]
    return Regions(
        codes=codes.to_numpy().astype(np.uint8),
        index=structs.field("index").to_numpy(),
        parent=structs.field("parent").to_numpy(),
        order=structs.field("reading_order").to_numpy(),
        boxes=np.stack(sides, axis=1).astype(np.float64),
        texts=tuple(structs.field("text").to_pylist()),
        confidence=structs.field("confidence").to_numpy().astype(np.float64),
    )


def _ends(lists: pa.ListArray) -> NDArray[np.int64]:
    """Where each list begins among the items of all, and where the last one ends."""
    ends: NDArray[np.int64] = lists.offsets.to_numpy().astype(np.int64)
    ends -= ends[0]
    return ends
