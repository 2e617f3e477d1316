"""Which pages each query may look at."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from patchlight.storage.records import VISIBLE, Document, page_id
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.documents.lookup import file_name
from patchlight.tasks.documents.sources import shown

Positions = NDArray[np.int64]

_CANDIDATES_SHOWN = 5


class Texts(Sequence[str]):
    """A text for each page, of which many are the same: one object each, however many pages.

    Args:
        texts: Arrow texts, none of them null.
    """

    def __init__(self, texts: pa.ChunkedArray) -> None:
        encoded = texts.combine_chunks().dictionary_encode()
        self._values: list[str] = encoded.dictionary.to_pylist()
        self._at: NDArray[np.int32] = encoded.indices.to_numpy()

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self._values[value] for value in self._at[at]]
        return self._values[int(self._at[at])]


class PageIds(Sequence[str]):
    """The keys of pages, made when they are asked for.

    Args:
        doc_ids: of their documents.
        pages: their numbers.
    """

    def __init__(self, doc_ids: Sequence[str], pages: Positions) -> None:
        self._doc_ids, self._pages = doc_ids, pages

    def __len__(self) -> int:
        return len(self._pages)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return page_id(self._doc_ids[at], int(self._pages[at]))


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

    page_ids: Sequence[str]
    doc_ids: Sequence[str]
    names: Sequence[str]
    uris: Sequence[str]
    pages: Positions
    width_pt: NDArray[np.float64]
    height_pt: NDArray[np.float64]
    page_keys: Positions
    patch_rows: Positions

    @classmethod
    def of(cls, table: pa.Table) -> Catalog:
        """Make one from what ``storage.reader.catalog`` gives."""
        doc_ids, pages = Texts(table["doc_id"]), table["page"].to_numpy().astype(np.int64)
        return cls(
            page_ids=PageIds(doc_ids, pages),
            doc_ids=doc_ids,
            names=Texts(table["name"]),
            uris=Texts(table["uri"]),
            pages=pages,
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
                for name in (source.uri, shown(source.name), file_name(source.uri)):
                    self._by_name.setdefault(name, set()).add(document.doc_id)
        self._doc_ids = catalog.doc_ids

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
            start = bisect_left(self._doc_ids, document.doc_id)
            end = bisect_right(self._doc_ids, document.doc_id)
            if start == end:
                raise InputError(f"--where matches no page of doc {doc!r}")
            beyond = [page for page in pages or () if page > document.page_count]
            if beyond:
                raise InputError(
                    f"doc {doc!r} has {document.page_count} pages, there is no page {beyond[0]}"
                )
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
