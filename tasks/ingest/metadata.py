"""Which documents the rows of a metadata file are of; and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from patchlight.storage.records import Source
from patchlight.tasks.documents.lookup import SHORTEST_ID
from patchlight.tasks.documents.sources import FILE_SCHEME, shown, to_path, to_uri
from patchlight.tasks.ingest.columntypes import kind_of
from patchlight.tasks.ingest.metadatafile import MetadataFile

_IDS = ("doc_id", "sha256")
_SHOWN = 5
_UNMATCHED_TOLD = 100
"""Of the rows of no document in a report, which is kept for each run."""


@dataclass(slots=True)
class MatchedRows:
    """What became of the rows of a file.

    Attributes:
        rows: doc_id -> row.
        unmatched: rows of no document that is known, as places and what they say.
        problems: why other rows were not used.
    """

    rows: dict[str, int] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Places:
    """Documents by where they were found; a text finds those it may mean.

    Args:
        known: doc_id and sources of each document; one may come more than once.
    """

    def __init__(self, known: Iterable[tuple[str, Iterable[Source]]]) -> None:
        self._ids: set[str] = set()
        self._by_start: dict[str, set[str]] = {}
        self._by_uri: dict[str, set[str]] = {}
        self._by_name: dict[str, set[str]] = {}
        self._by_file: dict[str, set[tuple[str, str]]] = {}
        for doc_id, sources in known:
            self._ids.add(doc_id)
            self._by_start.setdefault(doc_id[:SHORTEST_ID], set()).add(doc_id)
            for source in sources:
                self._by_uri.setdefault(source.uri, set()).add(doc_id)
                self._by_name.setdefault(shown(source.name), set()).add(doc_id)
                path = shown(to_path(source.uri))
                self._by_file.setdefault(_last(path), set()).add((path, doc_id))

    def of_id(self, text: str) -> set[str]:
        """The documents that an id, or 8 digits of one or more, may mean."""
        wanted = text.lower()
        if wanted in self._ids:
            return {wanted}
        if not re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},64}}", wanted):
            return set()
        near = self._by_start.get(wanted[:SHORTEST_ID], ())
        return {one for one in near if one.startswith(wanted)}

    def of_path(self, text: str, folder: str) -> set[str]:
        """The documents that a path, a URI or a name may mean; the nearest meaning counts.

        Args:
            text: a URI; a path from here or from a folder; a name as it was given at ingest;
                or the end of a path, down to a file name.
            folder: the other folder that paths may be from.
        """
        path = to_path(text) if text.startswith(FILE_SCHEME) else text
        here, there = to_uri(path), to_uri(str(PurePath(folder) / path))
        for found in (
            self._by_uri.get(text),
            self._by_uri.get(here),
            self._by_uri.get(there),
            self._by_name.get(shown(text)),
        ):
            if found:
                return found
        end = shown(path).removeprefix("./")
        return {
            doc_id
            for whole, doc_id in self._by_file.get(_last(end), ())
            if f"/{whole}".endswith(f"/{end}")
        }


def match(file: MetadataFile, rows: pa.Table, places: Places, folder: str) -> MatchedRows:
    """Find the document of each row.

    Args:
        file: as it was read.
        rows: its columns as they are stored.
        places: the documents.
        folder: the file's own: paths in it may be from there.
    """
    matched = MatchedRows()
    by_id = file.key in _IDS
    conflicts: dict[str, list[int]] = {}
    for row, key in enumerate(file.keys):
        found = places.of_id(key) if by_id else places.of_path(key, folder)
        if not found:
            matched.unmatched.append(f"{file.place(row)}: {shown(key)}")
        elif len(found) > 1:
            listed = ", ".join(sorted(one[:12] for one in found)[:_SHOWN])
            matched.problems.append(
                f"{file.place(row)}: {shown(key)!r} may be {len(found)} documents ({listed}); give "
                "more of the path, or the doc_id"
            )
        else:
            (doc_id,) = found
            first = matched.rows.setdefault(doc_id, row)
            if first != row and rows.slice(first, 1) != rows.slice(row, 1):
                conflicts.setdefault(doc_id, [first]).append(row)
    for doc_id, these in conflicts.items():
        del matched.rows[doc_id]
        others = ", ".join(str(file.lines[row]) for row in these[1 : 1 + _SHOWN])
        matched.problems.append(
            f"{file.place(these[0])}: {shown(file.keys[these[0]])!r} is the document of line "
            f"{others} too, which says something else; neither was stored"
        )
    if not matched.rows and not matched.problems:
        matched.problems.append(
            f"{file.path}: none of its {len(file.keys)} rows is of a document that is known, by "
            f"their column {file.key!r}"
        )
    return matched


def of_documents(rows: pa.Table, matched: Mapping[str, int]) -> pa.Table:
    """Return the rows of documents, with the column ``doc_id``.

    Args:
        rows: the columns of a file.
        matched: doc_id -> row.
    """
    doc_ids = sorted(matched)
    at = pa.array([matched[doc_id] for doc_id in doc_ids], pa.int64())
    columns = {name: rows[name].take(at) for name in rows.column_names}
    return pa.table({"doc_id": pa.array(doc_ids, pa.string()), **columns})


def said(file: MetadataFile, rows: pa.Table, matched: MatchedRows, changed: int) -> dict[str, Any]:
    """Return what a report says of a file.

    Args:
        file: as it was read.
        rows: its columns as they are stored.
        matched: what became of its rows.
        changed: documents of which something is stored that was not before.
    """
    return {
        "file": file.path,
        "key": file.key,
        "columns": {name: str(kind_of(rows.schema.field(name).type)) for name in rows.column_names},
        "empty": [name for name in file.columns if name not in rows.column_names],
        "renamed": dict(file.renamed),
        "left_out": list(file.left_out),
        "rows": len(file.keys),
        "documents": len(matched.rows),
        "changed": changed,
        "unmatched": len(matched.unmatched),
        "unmatched_first": matched.unmatched[:_UNMATCHED_TOLD],
    }


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]
