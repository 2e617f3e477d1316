"""Which pages each query may look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from patchlight.storage.records import VISIBLE, Document
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.documents.lookup import file_name
from patchlight.tasks.documents.sources import shown

Positions = NDArray[np.int64]

_CANDIDATES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Catalog:
    """The pages that queries may see, by doc_id and page; position is the row.

    Attributes:
        page_ids, doc_ids, names, uris: (P,) texts.
        pages: (P,) 1-based numbers.
        width_pt, height_pt: (P,) size of the displayed page, points.
        page_keys: (P,) what the page's regions are found by.
        patch_rows: (P,) where the page's vectors are.
    """

    page_ids: list[str]
    doc_ids: list[str]
    names: list[str]
    uris: list[str]
    pages: Positions
    width_pt: NDArray[np.float64]
    height_pt: NDArray[np.float64]
    page_keys: Positions
    patch_rows: Positions

    @classmethod
    def of(cls, table: pa.Table) -> Catalog:
        """Make one from what ``storage.reader.catalog`` gives."""
        return cls(
            page_ids=table["page_id"].to_pylist(),
            doc_ids=table["doc_id"].to_pylist(),
            names=table["name"].to_pylist(),
            uris=table["uri"].to_pylist(),
            pages=table["page"].to_numpy().astype(np.int64),
            width_pt=table["width_pt"].to_numpy().astype(np.float64),
            height_pt=table["height_pt"].to_numpy().astype(np.float64),
            page_keys=table["page_key"].to_numpy().astype(np.int64),
            patch_rows=table["patch_row"].to_numpy().astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.page_ids)

    def keys(self, positions: Iterable[int]) -> dict[str, int]:
        """Return page_id -> page_key of some pages."""
        return {self.page_ids[at]: int(self.page_keys[at]) for at in positions}


class Scopes:
    """Turns a query's ``doc`` and ``pages`` into positions of the catalog.

    Args:
        catalog: the pages that ``--where`` left.
        documents: all documents; those that queries see are looked up.
    """

    def __init__(self, catalog: Catalog, documents: Sequence[Document]) -> None:
        self._pages = catalog.pages
        self._documents = {d.doc_id: d for d in documents if d.status in VISIBLE}
        self._by_name: dict[str, set[str]] = {}
        for document in self._documents.values():
            for source in document.sources:
                for name in (source.uri, source.name, file_name(source.uri)):
                    self._by_name.setdefault(name, set()).add(document.doc_id)
        starts: dict[str, int] = {}
        ends: dict[str, int] = {}
        for position, doc_id in enumerate(catalog.doc_ids):
            starts.setdefault(doc_id, position)
            ends[doc_id] = position + 1
        self._ranges = {doc_id: (starts[doc_id], ends[doc_id]) for doc_id in starts}

    def positions(self, doc: str | None, pages: Sequence[int] | None) -> Positions | None:
        """Return the positions a query may look at, rising; None for all.

        Raises:
            InputError: the document is unknown or ambiguous, a page is not there, or nothing
                is left of it.
        """
        if doc is None and pages is None:
            return None
        start, end = 0, len(self._pages)
        if doc is not None:
            document = self._find(doc)
            if document.doc_id not in self._ranges:
                raise InputError(f"--where matches no page of doc {doc!r}")
            beyond = [page for page in pages or () if page > document.page_count]
            if beyond:
                raise InputError(
                    f"doc {doc!r} has {document.page_count} pages, there is no page {beyond[0]}"
                )
            start, end = self._ranges[document.doc_id]
        found: Positions = np.arange(start, end, dtype=np.int64)
        if pages is not None:
            found = found[np.isin(self._pages[start:end], np.asarray(pages))]
        if not len(found):
            raise InputError(
                f"none of pages {list(pages or ())} can be searched: they are quarantined (see "
                "the table failures), or left out by --where"
            )
        return found

    def _find(self, doc: str) -> Document:
        if doc in self._documents:
            return self._documents[doc]
        ids = sorted(self._by_name.get(shown(doc), ()))
        if len(ids) == 1:
            return self._documents[ids[0]]
        if not ids:
            raise InputError(
                f"there is no document {doc!r}; give its id, its URI or its file name as "
                "'patchlight sql \"SELECT doc_id, uri FROM documents\"' lists them"
            )
        some = [self._documents[i].sources[0].uri for i in ids[:_CANDIDATES_SHOWN]]
        more = f" and {len(ids) - len(some)} more" if len(ids) > len(some) else ""
        raise InputError(
            f"doc {doc!r} is ambiguous: {', '.join(some)}{more}; give the URI or the id"
        )
