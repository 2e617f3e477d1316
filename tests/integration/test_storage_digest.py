"""That a digest tells what is stored, and nothing of how it came to be stored: on real LanceDB."""

import random
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables, retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.digest import differences, digest
from patchlight.storage.pages import Page
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    Failure,
    PageEncoding,
    Run,
    Source,
    VectorForm,
    VectorType,
)
from patchlight.storage.regions import Regions
from patchlight.storage.schema import Table
from tests.storage_examples import (
    DIM,
    ENCODER,
    NOW,
    doc_id,
    document,
    failure,
    page,
    put,
    put_run,
    put_statistics,
    retrieval,
)

PAGES = [page(name, number, words) for name in "ab" for number, words in enumerate((3, 0, 5), 1)]
REGIONS = PAGES[0].regions or Regions.of_words(())
STATISTICS = {"x": 2, "a": 1}


def make(
    place: Path,
    pages: list[Page] = PAGES,
    documents: tuple[Document, ...] = (document("a", 3), document("b", 3)),
    failures: tuple[Failure, ...] = (failure(),),
    statistics: dict[str, int] = STATISTICS,
    form: VectorForm | None = None,
) -> Path:
    database = Database.create_or_open(place, ENCODER, form)
    committer = Committer(database, "run")
    committer.commit_pages(page_tables(pages, DIM, database.form.type))
    put(committer, *documents)
    committer.commit_failures(failures)
    put_statistics(committer, 6, statistics)
    return place


def make_otherwise(place: Path) -> Path:
    """The same, page by page in another order, some twice, later, by other runs, merged."""
    database = Database.create_or_open(place, ENCODER)
    committer = Committer(database, "another")
    committer.commit_pages(page_tables([replace(PAGES[2], fingerprints={})], DIM))
    for one in random.Random(7).sample(PAGES, len(PAGES)):
        committer.commit_pages(page_tables([one], DIM))
    committer.commit_pages(page_tables(PAGES[:2], DIM))
    later = NOW + timedelta(hours=1)
    for name in "ba":
        hidden = replace(document(name, 3), status=DocumentStatus.UNFINISHED)
        put(committer, hidden)
        put(committer, replace(document(name, 3), run_id="another", ingested_at=later))
    committer.commit_failures([replace(failure(), failed_at=later, run_id="another")])
    put_statistics(committer, 1, {"old": 1})
    put_statistics(committer, 6, {"a": 1, "x": 2})
    put_run(committer, Run("another", "ingest", "running", NOW))
    committer.replace_retrievals("q", [retrievals_table([retrieval("q", "1")])])
    committer.optimize(keep=timedelta(0))
    return place


def test_order_layout_and_repetition_do_not_count(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make_otherwise(tmp_path / "other")
    assert digest(one, vectors=True) == digest(other, vectors=True)
    assert differences(one, other) == []
    left_out = {"runs", "retrievals", "page_keys", "term_counts", "sequences"}
    counted = {t.value for t in Table} - left_out
    assert set(digest(one)) == counted
    assert set(digest(one, vectors=True)) == counted | {"vectors"}


CHANGES = {
    "a document's source": (
        "documents",
        {"documents": (document("a", 3), replace(document("b", 3), sources=(Source("u", "n"),)))},
        rf"documents {doc_id('b')}: name: 'b' and 'n'",
    ),
    "a page less": (
        "pages",
        {"pages": PAGES[1:]},
        rf"pages {doc_id('a')}:00001: only in the first",
    ),
    "a page's fingerprint": (
        "pages",
        {"pages": [replace(PAGES[0], fingerprints={"words": "w"}), *PAGES[1:]]},
        "00001: fingerprints: render: 'one' and None",
    ),
    "a word": (
        "words",
        {
            "pages": [
                replace(
                    PAGES[0],
                    regions=replace(REGIONS, texts=("X", *REGIONS.texts[1:])),
                ),
                *PAGES[1:],
            ]
        },
        "words .*00001: words: item 0: text: 'a-1-0' and 'X'",
    ),
    "a failure": (
        "failures",
        {"failures": (failure(message="other"),)},
        "message: 'broken' and 'other'",
    ),
    "a count": (
        "statistics",
        {"statistics": {"x": 2, "a": 2}},
        "statistics latest: terms: item 0: count: 1 and 2",
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("digest") / "plain")


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_told_and_named(tmp_path: Path, plain: Path, change: str) -> None:
    table, changed, message = CHANGES[change]
    other = make(tmp_path / "other", **changed)  # type: ignore[arg-type]
    before, after = digest(plain), digest(other)
    assert before[table] != after[table]
    found = "\n".join(differences(plain, other))
    assert re.search(message, found), found
    assert differences(other, plain)


def shifted(one: Page, by: float) -> Page:
    encoding = one.encoding
    assert encoding is not None
    vectors = encoding.vectors.copy()
    vectors[0, 0] = np.float16(vectors[0, 0]) + np.float32(by)
    made = PageEncoding(encoding.rows, encoding.cols, vectors, encoding.cell_to_vector)
    return replace(one, encoding=made)


def test_vectors_count_apart_and_within_a_tolerance(tmp_path: Path, plain: Path) -> None:
    # The same encoder on another machine may round the last bit otherwise.
    other = make(tmp_path / "other", [shifted(PAGES[0], 2**-6), *PAGES[1:]])
    assert digest(plain) == digest(other)
    assert digest(plain, vectors=True)["vectors"] != digest(other, vectors=True)["vectors"]
    (line,) = differences(plain, other)
    assert line == f"patches {doc_id('a')}:00001: vectors: off by up to 0.0156"
    assert len(differences(plain, other, vector_tolerance=0.015)) == 1
    assert differences(plain, other, vector_tolerance=0.016) == []


def test_vectors_of_another_form_or_number_differ(tmp_path: Path, plain: Path) -> None:
    int8 = make(tmp_path / "int8", form=VectorForm(VectorType.INT8))
    fewer = make(tmp_path / "fewer", [page("a", 1, vectors=3), *PAGES[1:]])
    lines = differences(plain, int8, vector_tolerance=1e-9)
    assert any("vector_type: 'float16' and 'int8'" in line for line in lines)
    assert sum("vectors: off by" in line for line in lines) == len(PAGES)
    assert differences(plain, int8, vector_tolerance=0.1)[1:] == []
    assert any("vectors: 4 of 8 values and 3 of 8" in line for line in differences(plain, fewer))


def test_an_empty_database_has_a_digest_and_a_full_one_many_differences(
    tmp_path: Path,
) -> None:
    empty = tmp_path / "empty"
    Database.create_or_open(empty, ENCODER)
    full = make(tmp_path / "full", [page("a", n) for n in range(1, 60)])
    assert digest(empty, vectors=True).keys() == digest(full, vectors=True).keys()
    assert differences(empty, empty) == []
    lines = differences(empty, full)
    assert (len(lines), lines[-1]) == (51, "and more")


def test_blank_pages_alone_have_the_digest_that_they_have_among_others(tmp_path: Path) -> None:
    # What is read at once must not show in what is told of a page.
    blank = [page("a", number, words=0, vectors=0) for number in (1, 2)]
    together, apart = tmp_path / "together", tmp_path / "apart"
    make(together, [page("b", 1), *blank])
    for one in (blank[0], page("b", 1), blank[1]):
        make(apart, [one])
    assert digest(together, vectors=True) == digest(apart, vectors=True)
    assert differences(make(tmp_path / "blank", blank), together)[0].endswith("in the second")


def test_a_row_stored_twice_is_seen(tmp_path: Path, plain: Path) -> None:
    # What an append would do; the digest must not take a set for a list.
    twice = make(tmp_path / "twice")
    table = Database.open(twice).table(Table.PAGES)
    table.insert(table.to_table(limit=1))
    assert digest(twice)["pages"] != digest(plain)["pages"]
    assert "pages: 7 rows, but 6 keys" in differences(plain, twice)
