"""Which document is meant by what a person types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patchlight.storage.records import Source
from patchlight.tasks.documents.lookup import file_name, fits, name_of
from tests.storage_examples import doc_id, document

ID = doc_id("a")
SOURCES = (
    Source("file:///data/reports/q1%20draft.pdf", "reports/q1 draft.pdf"),
    Source("file:///data/latin-%E9.pdf", "latin-\\udce9.pdf"),
)


@pytest.mark.parametrize(
    "wanted",
    [
        ID,
        ID[:8],
        ID[:20],
        "file:///data/reports/q1%20draft.pdf",
        "/data/reports/q1 draft.pdf",
        "/data/other/../reports/q1 draft.pdf",
        "reports/q1 draft.pdf",
        "q1 draft.pdf",
        "latin-\udce9.pdf",
        "/data/latin-\udce9.pdf",
        "latin-\\udce9.pdf",
    ],
)
def test_a_document_has_many_names(wanted: str) -> None:
    assert fits(wanted, ID, SOURCES)


@pytest.mark.parametrize(
    "wanted", [ID[:7], ID[1:], ID.upper(), doc_id("b"), "q1", "reports", "", ".", "*", "%"]
)
def test_a_part_of_a_name_is_none(wanted: str) -> None:
    assert not fits(wanted, ID, SOURCES)


def test_a_path_counts_from_where_one_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    source = Source((tmp_path / "sub" / "a.pdf").as_uri(), "elsewhere/a.pdf")
    monkeypatch.chdir(tmp_path)
    assert fits("sub/a.pdf", ID, (source,)) and not fits("a.pdf/", ID, (source,))
    monkeypatch.chdir(tmp_path / "sub")
    assert not fits("sub/a.pdf", ID, (source,)) and fits("../sub/a.pdf", ID, (source,))


def test_a_file_that_was_never_read_has_no_id() -> None:
    assert not fits(ID, "", SOURCES)
    assert fits("q1 draft.pdf", "", SOURCES)


def test_names_for_people() -> None:
    assert file_name("file:///a/b%0Ac%FF.pdf") == "b\nc\\udcff.pdf"
    assert name_of(document("a", 1)) == "a"
    assert name_of(replace(document("a", 1), sources=())) == f"{ID[:12]} (being removed)"
