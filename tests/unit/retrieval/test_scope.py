"""Which pages a query may look at."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from patchlight.storage.records import Document, DocumentStatus, Source, page_id
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.retrieval.scope import Catalog, Scopes

A, B, C = "a" * 64, "b" * 64, "c" * 64


def document(
    doc_id: str, *uris: str, pages: int = 3, status: DocumentStatus = DocumentStatus.COMPLETE
) -> Document:
    sources = tuple(Source(uri, uri.removeprefix("file:///docs/")) for uri in uris)
    return Document(
        doc_id=doc_id,
        status=status,
        media_type="application/pdf",
        bytes=1,
        page_count=pages,
        pages_stored=pages,
        pages_failed=0,
        sources=sources,
        fingerprints={},
        run_id="r",
        ingested_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def catalog(*pages: tuple[str, int]) -> Catalog:
    return Catalog.of(
        pa.table(
            {
                "page_id": [page_id(doc, page) for doc, page in pages],
                "doc_id": [doc for doc, _ in pages],
                "name": ["n"] * len(pages),
                "uri": ["file:///n"] * len(pages),
                "page": pa.array([page for _, page in pages], pa.int32()),
                "width_pt": [612.0] * len(pages),
                "height_pt": [792.0] * len(pages),
                "page_key": list(range(len(pages))),
                "patch_row": list(range(len(pages))),
            }
        )
    )


DOCUMENTS = [
    document(A, "file:///docs/tides.pdf"),
    document(B, "file:///docs/2019/dues%20%C3%BC.pdf", "file:///docs/copy.pdf"),
    document(C, "file:///docs/2020/dues%20%C3%BC.pdf"),
]
ALL = [(doc, page) for doc in (A, B, C) for page in (1, 2, 3)]


@pytest.fixture
def scopes() -> Scopes:
    return Scopes(catalog(*ALL), DOCUMENTS)


def found(scopes: Scopes, doc: str | None, *pages: int) -> list[int]:
    positions = scopes.positions(doc, pages or None)
    assert positions is not None and positions.dtype == np.int64
    return [int(position) for position in positions]


def test_without_a_scope_all_pages_are_looked_at(scopes: Scopes) -> None:
    assert scopes.positions(None, None) is None


@pytest.mark.parametrize("doc", [A, "file:///docs/tides.pdf", "tides.pdf"])
def test_a_document_is_found_by_id_uri_and_name(scopes: Scopes, doc: str) -> None:
    assert found(scopes, doc) == [0, 1, 2]
    assert found(scopes, doc, 3, 1) == [0, 2]


def test_every_place_of_the_same_bytes_is_the_same_document(scopes: Scopes) -> None:
    assert found(scopes, "copy.pdf") == [3, 4, 5]
    assert found(scopes, "2019/dues%20%C3%BC.pdf") == [3, 4, 5]  # the name it was ingested by


def test_a_name_that_several_have_lists_them(scopes: Scopes) -> None:
    with pytest.raises(InputError) as caught:
        scopes.positions("dues ü.pdf", None)
    message = str(caught.value)
    assert "file:///docs/2019/dues%20%C3%BC.pdf" in message
    assert "file:///docs/2020/dues%20%C3%BC.pdf" in message
    assert "give the URI or the id" in message


def test_many_candidates_are_counted() -> None:
    ids = [f"{i:064x}" for i in range(9)]
    documents = [document(d, f"file:///docs/{i}/same.pdf") for i, d in enumerate(ids)]
    with pytest.raises(InputError, match="and 4 more"):
        Scopes(catalog(*[(d, 1) for d in ids]), documents).positions("same.pdf", None)


def test_an_unknown_document_says_where_to_look(scopes: Scopes) -> None:
    with pytest.raises(InputError, match=r"no document 'gone\.pdf'.*patchlight sql"):
        scopes.positions("gone.pdf", None)


@pytest.mark.parametrize("status", [DocumentStatus.FAILED, DocumentStatus.UNFINISHED])
def test_documents_that_queries_do_not_see_are_unknown(status: DocumentStatus) -> None:
    scopes = Scopes(catalog((B, 1)), [document(A, "file:///docs/tides.pdf", status=status)])
    for doc in (A, "tides.pdf"):
        with pytest.raises(InputError, match="there is no document"):
            scopes.positions(doc, None)


def test_pages_beyond_the_end_are_an_error_and_not_left_out(scopes: Scopes) -> None:
    with pytest.raises(InputError, match=r"'tides\.pdf' has 3 pages, there is no page 4"):
        scopes.positions("tides.pdf", [2, 4])


def test_pages_without_a_document_are_those_of_all(scopes: Scopes) -> None:
    assert found(scopes, None, 2) == [1, 4, 7]
    with pytest.raises(InputError, match=r"none of pages \[9\]"):
        scopes.positions(None, [9])


def test_what_where_leaves_out_is_out() -> None:
    scopes = Scopes(catalog((A, 2), (C, 1), (C, 3)), DOCUMENTS)
    assert found(scopes, C) == [1, 2]
    assert found(scopes, C, 2, 3) == [2]
    with pytest.raises(InputError, match=r"none of pages \[1\] can be searched.*--where"):
        scopes.positions(A, [1])
    with pytest.raises(InputError, match=r"--where matches no page of doc 'copy\.pdf'"):
        scopes.positions("copy.pdf", None)


def test_a_name_that_is_not_unicode_is_found_as_it_is_and_as_it_is_shown() -> None:
    scopes = Scopes(catalog((A, 1)), [document(A, "file:///docs/latin-%E9%0A.pdf", pages=1)])
    for name in ("latin-\udce9\n.pdf", "latin-\\udce9\n.pdf", "file:///docs/latin-%E9%0A.pdf"):
        found = scopes.positions(name, None)
        assert found is not None and list(found) == [0]


@pytest.mark.parametrize("asked", ["Müller.pdf", "Mu\u0308ller.pdf"])
@pytest.mark.parametrize("stored", ["M%C3%BCller.pdf", "Mu%CC%88ller.pdf"])
def test_two_ways_to_write_a_letter_are_one(asked: str, stored: str) -> None:
    """MacOS writes an umlaut as two characters, people and other systems as one."""
    scopes = Scopes(catalog((A, 1)), [document(A, f"file:///docs/{stored}")])
    found = scopes.positions(asked, None)
    assert found is not None and found.tolist() == [0]
