"""The indexes of a database, and keeping them up with its rows.

Rows that are not in an index yet are searched all the same, only slower, so an index is brought up
in steps: a commit of some pages adds nothing to it, and what is added is a part of its own. Parts
are merged as files are (`storage.merging`), so that what is written follows what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lance

from patchlight.storage import merging
from patchlight.storage.schema import Table

_TREE, _BITMAP, _TEXT = "BTREE", "BITMAP", "INVERTED"

INDEXES: Mapping[Table, Mapping[str, str]] = {
    Table.PAGES: {"page_id": _TREE, "page_key": _TREE, "doc_id": _TREE, "terms": _TEXT},
    Table.REGIONS: {"page_key": _TREE, "kind": _BITMAP, "terms": _TEXT},
    Table.WORDS: {"page_key": _TREE},
    Table.PATCHES: {"page_key": _TREE},
}
"""Table -> indexed column -> kind of index."""

_AS_WRITTEN: Mapping[str, Any] = {
    "base_tokenizer": "whitespace",
    "lower_case": False,
    "stem": False,
    "remove_stop_words": False,
    "ascii_folding": False,
    "max_token_length": None,
    "with_position": False,
}
"""Terms are written by our own tokeniser: the engine only parts them at spaces."""

_WORTH_IT = 0.02
"""Share of a table's rows beyond which those that are in no index are added to it."""

_MOST_LEFT = 1 << 17
"""Rows that are left unindexed at most, whatever their share."""


def refresh(dataset: lance.LanceDataset, table: Table) -> None:
    """Make the indexes of a table that are missing, and add rows where it is worth it.

    Args:
        dataset: the table, newest version.
        table: which.
    """
    rows = dataset.count_rows()
    columns = INDEXES.get(table)
    if not columns or not rows:
        return
    there = {tuple(index.field_names): index.name for index in dataset.describe_indices()}
    for column, kind in columns.items():
        name = there.get((column,))
        if name is None:
            options = _AS_WRITTEN if kind == _TEXT else {}
            dataset.create_scalar_index(column, kind, **options)
            continue
        stats = dataset.stats.index_stats(name)
        left = int(stats["num_unindexed_rows"])
        if left > min(_WORTH_IT * rows, _MOST_LEFT):
            parts = [int(count) for count in stats["num_indexed_rows_per_delta"]]
            dataset.optimize.optimize_indices(
                num_indices_to_merge=_parts_to_merge(parts, left), index_names=[name]
            )


def _parts_to_merge(parts: list[int], new: int) -> int:
    """How many of the newest parts of an index are merged with what is new."""
    return max(0, merging.tail([*parts, new], merging.NEVER_FULL) - 1)
