"""Strict conversion of a page's regions to rows of ``regions`` and ``words``, and back. Pure.

What a person asks about has a row each. Words and lines, four in five of all regions, are packed,
one row a page: docs/decisions/0019-schema-4.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind, page_id, region_id
from patchlight.storage.regions import KINDS, NO_REGIONS, Arrangement, Regions
from patchlight.storage.schema import BOX, Table, schema_of

PACKED: Mapping[RegionKind, str] = {RegionKind.WORD: "words", RegionKind.LINE: "lines"}
"""Kinds that are lists in ``words``, and the columns that hold them."""

_KIND_NAMES = pa.array([kind.value for kind in KINDS], pa.string())
"""The names of kinds by their codes."""

Terms = Callable[[str], list[str]]
"""What makes terms of a text."""


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


def region_rows(pages: Sequence[tuple[str, int, Regions, Arrangement]], terms: Terms) -> pa.Table:
    """Convert the regions of pages that have a row each; ``page_key`` is left null.

    Boxes and confidence are rounded to float32.

    Args:
        pages: doc_id, number, all regions, which `check` lets pass, and where each has its place.
        terms: what makes terms of a text.
    """
    schema = schema_of(Table.REGIONS, dim=1)
    return pa.concat_tables(
        [schema.empty_table(), *(_rows_of(schema, *page, terms) for page in pages)]
    )


def packed_rows(pages: Sequence[tuple[str, int, Regions, Arrangement]]) -> pa.Table:
    """Convert the words and lines of pages, a row a page; see `region_rows`."""
    schema = schema_of(Table.WORDS, dim=1)
    numbers = [(doc_id, number) for doc_id, number, _, _ in pages]
    columns: dict[str, pa.Array] = {
        "page_id": pa.array([page_id(*at) for at in numbers], pa.string()),
        "page_key": pa.nulls(len(pages), pa.int64()),
        "doc_id": pa.array([doc_id for doc_id, _ in numbers], pa.string()),
        "page": pa.array([number for _, number in numbers], pa.int32()),
    }
    for kind, name in PACKED.items():
        lists = [
            (regions.take(rows), arrangement.order[rows])
            for _, _, regions, arrangement in pages
            for rows in [regions.rows(kind)]
        ]
        columns[name] = _lists_of(lists, schema.field(name).type)
    return pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)


def regions_of(
    page_keys: Sequence[int],
    rows: pa.Table | None,
    packed: pa.Table | None,
    kinds: Collection[RegionKind] | None = None,
) -> list[Regions]:
    """Convert rows back.

    Args:
        page_keys: of the pages, each once.
        rows: of ``regions``, of these pages, in any order; None where none are wanted.
        packed: of ``words``, of these pages; None where none are wanted.
        kinds: which kinds; None for all.

    Returns:
        The regions of each page by their indices; none for a page that has none.

    Raises:
        ValueError: a region is of a kind that this version does not know.
    """
    parts: dict[int, list[Regions]] = {key: [] for key in page_keys}
    if packed is not None:
        for kind, name in PACKED.items():
            if kinds is None or kind in kinds:
                lists = packed[name].combine_chunks()
                found = _listed(lists, kind)
                for key, part in zip(packed["page_key"].to_pylist(), found, strict=True):
                    parts[key].append(part)
    if rows is not None and rows.num_rows:
        rows = rows.sort_by([("page_key", "ascending"), ("index", "ascending")])
        if kinds is not None:
            wanted = pa.array([kind.value for kind in kinds], pa.string())
            rows = rows.filter(pc.is_in(rows["kind"], value_set=wanted))
        keys = rows["page_key"].to_numpy()
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        together = _in_rows(rows)
        for start, stop in pairwise([*starts.tolist(), len(keys)]):
            parts[int(keys[start])].append(together.part(start, stop))
    return [_joined(part) for part in parts.values()]


def words_of(packed: pa.Table) -> list[Regions]:
    """Convert the words of rows of ``words``, in reading order, to regions of nothing."""
    found = []
    for words in _listed(packed["words"].combine_chunks(), RegionKind.WORD):
        words = words.take(np.argsort(words.order, kind="stable"))
        found.append(Regions.of_kind(words.boxes, RegionKind.WORD, words.texts, words.confidence))
    return found


def kinds_in(table: Table, kinds: Collection[RegionKind] | None) -> bool:
    """Whether a table may hold regions of some kinds; None for all kinds."""
    if kinds is None:
        return True
    packed = [kind in PACKED for kind in kinds]
    return any(packed) if table is Table.WORDS else not all(packed)


def _joined(parts: Sequence[Regions]) -> Regions:
    if not parts:
        return NO_REGIONS
    together = parts[0] if len(parts) == 1 else Regions.joined(parts)
    rows = np.argsort(together.index, kind="stable")
    return together if (np.diff(rows) == 1).all() else together.take(rows)


def _rows_of(
    schema: pa.Schema,
    doc_id: str,
    number: int,
    regions: Regions,
    arrangement: Arrangement,
    terms: Terms,
) -> pa.Table:
    rows = np.flatnonzero(~np.isin(regions.codes, [KINDS.index(kind) for kind in PACKED]))
    chosen, page = regions.take(rows), page_id(doc_id, number)
    sides = chosen.boxes.astype(np.float32).T
    table = arrangement.table[rows]

    def ids(index: NDArray[np.int32]) -> pa.Array:
        return pa.array([region_id(page, i) if i >= 0 else None for i in index.tolist()])

    def counted(column: NDArray[np.int32]) -> pa.Array:
        return pa.array(column[rows], pa.int32(), mask=column[rows] < 0)

    columns: dict[str, object] = {
        "region_id": ids(chosen.index),
        "page_key": pa.nulls(len(rows), pa.int64()),
        "doc_id": [doc_id] * len(rows),
        "page_id": [page] * len(rows),
        "page": np.full(len(rows), number, np.int32),
        "index": chosen.index,
        "kind": _KIND_NAMES.take(pa.array(chosen.codes)),
        "parent_id": ids(chosen.parent),
        "reading_order": arrangement.order[rows],
        "table_id": ids(table),
        "row": counted(arrangement.row),
        "col": counted(arrangement.col),
        "row_span": counted(arrangement.row_span),
        "col_span": counted(arrangement.col_span),
        **{name: np.ascontiguousarray(side) for name, side in zip(BOX, sides, strict=True)},
        "text": chosen.texts,
        "terms": [" ".join(terms(text)) for text in chosen.texts],
        "confidence": chosen.confidence.astype(np.float32),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _lists_of(
    lists: Sequence[tuple[Regions, NDArray[np.int32]]], kind: pa.DataType
) -> pa.ListArray:
    if not lists:
        return pa.array([], kind)
    regions = Regions.joined([part for part, _ in lists])
    sides = regions.boxes.astype(np.float32).T
    columns = {
        "index": regions.index,
        "parent": regions.parent,
        "reading_order": np.concatenate([order for _, order in lists]),
        **{name: np.ascontiguousarray(side) for name, side in zip(BOX, sides, strict=True)},
        "text": regions.texts,
        "confidence": regions.confidence.astype(np.float32),
    }
    fields = kind.value_type.fields
    arrays = [pa.array(columns[field.name], field.type) for field in fields]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part, _ in lists])])
    structs = pa.StructArray.from_arrays(arrays, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=kind)


def _listed(lists: pa.ListArray, kind: RegionKind) -> list[Regions]:
    """The regions in each of some lists."""
    if not len(lists):
        return []
    structs = lists.flatten()
    together = _regions(
        np.full(len(structs), KINDS.index(kind), np.uint8),
        structs.field("parent").to_numpy(),
        {name: structs.field(name) for name in ("index", "reading_order", *BOX, "confidence")},
        structs.field("text").to_pylist(),
    )
    ends = lists.offsets.to_numpy().astype(np.int64)
    ends -= ends[0]
    return [together.part(*pair) for pair in pairwise(ends.tolist())]


def _in_rows(rows: pa.Table) -> Regions:
    names = ("index", "reading_order", *BOX, "confidence")
    columns = {name: rows[name].combine_chunks() for name in names}
    codes = pc.index_in(rows["kind"].combine_chunks(), value_set=_KIND_NAMES)
    if codes.null_count:
        unknown = sorted(set(rows["kind"].filter(codes.is_null()).to_pylist()))
        raise ValueError(f"regions of unknown kinds: {', '.join(unknown)}")
    # A key ends in the index: `records.region_id`.
    parents = [
        -1 if p is None else int(p.rpartition(":")[2]) for p in rows["parent_id"].to_pylist()
    ]
    return _regions(
        codes.to_numpy().astype(np.uint8),
        np.array(parents, np.int32),
        columns,
        rows["text"].to_pylist(),
    )


def _regions(
    codes: NDArray[np.uint8],
    parent: NDArray[np.int32],
    columns: Mapping[str, pa.Array],
    texts: Iterable[str],
) -> Regions:
    sides = [columns[name].to_numpy() for name in BOX]
    return Regions(
        codes=codes,
        index=columns["index"].to_numpy(),
        parent=parent,
        order=columns["reading_order"].to_numpy(),
        boxes=np.stack(sides, axis=1).astype(np.float64),
        texts=tuple(texts),
        confidence=columns["confidence"].to_numpy().astype(np.float64),
    )
