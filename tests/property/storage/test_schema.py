"""Any page that is converted, committed and read again is the page it was."""

from collections.abc import Iterator
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import documents_of, documents_table, page_tables
from patchlight.storage.database import Database
from patchlight.storage.pages import Page
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    PageEncoding,
    RegionKind,
    Source,
    WordsSource,
    page_id,
)
from patchlight.storage.regions import Regions
from patchlight.storage.schema import STAGES
from tests.region_examples import Region, record_of
from tests.storage_examples import DIM, ENCODER, NOW, doc_id, document, put

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FRACTION = st.floats(0, 1, width=32)


@st.composite
def regions(draw: st.DrawFn) -> Regions:
    count = draw(st.integers(0, 6))
    made = []
    for index in range(count):
        x0, x1 = sorted(draw(st.lists(FRACTION, min_size=2, max_size=2, unique=True)))
        y0, y1 = sorted(draw(st.lists(FRACTION, min_size=2, max_size=2, unique=True)))
        kind = draw(st.sampled_from(RegionKind))
        parent, order = draw(st.integers(-1, count - 1)), draw(st.integers(0, 9))
        text, confidence = draw(TEXT), draw(FRACTION)
        made.append(Region(index, kind, parent, order, x0, y0, x1, y1, text, confidence))
    return record_of(made)


@st.composite
def encodings(draw: st.DrawFn) -> PageEncoding:
    rows, cols, count = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 5))
    values = st.floats(-1, 1, width=16)
    vectors = draw(arrays(np.float32, (count, DIM), elements=values))
    cells = draw(arrays(np.int32, (rows * cols,), elements=st.integers(-1, count - 1)))
    return PageEncoding(rows, cols, vectors, cells)


@st.composite
def pages(draw: st.DrawFn) -> list[Page]:
    """Pages of one document, distinct, in any order."""
    numbers = draw(st.lists(st.integers(1, 200_000), min_size=1, max_size=3, unique=True))
    size = st.floats(0.5, 20_000)
    return [
        Page(
            doc_id=doc_id("a"),
            page=number,
            width_pt=draw(size),
            height_pt=draw(size),
            rotation=draw(st.sampled_from([0, 90, 180, 270])),
            words_source=draw(st.sampled_from(WordsSource)),
            ocr_dpi=draw(st.integers(0, 600)),
            text=draw(TEXT),
            fingerprints=draw(st.dictionaries(st.sampled_from(STAGES), st.text("0f", max_size=4))),
            scale=draw(st.floats(0.125, 1, width=32)),
            regions=draw(regions()),
            encoding=draw(encodings()),
        )
        for number in numbers
    ]


@pytest.fixture(scope="module")
def committer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committer]:
    database = Database.create_or_open(tmp_path_factory.mktemp("schema") / "db", ENCODER)
    committer = Committer(database, "run")
    put(committer, document("a", 3))
    yield committer


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages())
def test_pages_survive_the_database_exactly(committer: Committer, given_pages: list[Page]) -> None:
    committer.commit_pages(page_tables(given_pages, DIM))
    database = committer._database
    snapshot = database.snapshot()
    catalog = {row["page_id"]: row for row in reader.catalog(snapshot).to_pylist()}
    ids = [page_id(page.doc_id, page.page) for page in given_pages]
    assert set(ids) <= set(catalog)
    batch = reader.read_patches(snapshot, [catalog[key]["patch_row"] for key in ids])
    keys = reader.page_keys(snapshot, ids)
    texts = reader.page_texts(snapshot, keys)
    stored = database.stored_pages([doc_id("a")])
    assert batch.page_ids == ids
    for position, (key, page) in enumerate(zip(ids, given_pages, strict=True)):
        row = catalog[key]
        assert page.encoding is not None
        assert (row["width_pt"], row["height_pt"]) == (page.width_pt, page.height_pt)
        assert row["n_vectors"] == len(page.encoding.vectors)
        assert texts[key] == page.text
        assert stored[page.doc_id, page.page] == page.fingerprints
        vectors = slice(*batch.vector_offsets[position : position + 2])
        cells = slice(*batch.cell_offsets[position : position + 2])
        read = PageEncoding(
            int(batch.rows[position]),
            int(batch.cols[position]),
            batch.vectors[vectors].astype(np.float32),
            batch.cell_to_vector[cells],
        )
        assert (read.rows, read.cols) == (page.encoding.rows, page.encoding.cols)
        np.testing.assert_array_equal(read.vectors, page.encoding.vectors)
        np.testing.assert_array_equal(read.cell_to_vector, page.encoding.cell_to_vector)
        assert reader.read_regions(snapshot, {key: keys[key]}) == {key: page.regions}


@given(arrays(np.float32, (3, DIM), elements=st.floats(-1, 1, width=32)))
def test_vectors_are_rounded_to_the_nearest_float16(vectors: np.ndarray) -> None:
    page = Page(
        doc_id("a"), 1, 1.0, 1.0, 0, WordsSource.NONE, 0, "", {}, Regions.of_words(()),
        PageEncoding(1, 1, vectors, np.zeros(1, np.int32)),
    )  # fmt: skip
    stored = page_tables([page], DIM).patches["vectors"].combine_chunks()
    read = stored.flatten().flatten().to_numpy().reshape(3, DIM)
    np.testing.assert_array_equal(read, vectors.astype(np.float16))


@given(
    st.lists(st.builds(Source, TEXT, TEXT), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(STAGES), TEXT),
    st.sampled_from(DocumentStatus),
    st.integers(0, 2**40),
)
def test_documents_survive_conversion_exactly(
    sources: list[Source], fingerprints: dict[str, str], status: DocumentStatus, size: int
) -> None:
    given_document = Document(
        doc_id("a"), status, "image/png", size, 1, 1, 0, tuple(sources), fingerprints, "r", NOW
    )
    assert documents_of(documents_table([given_document])) == [given_document]


def test_what_a_document_must_have_is_checked() -> None:
    good = document("a", 1)
    for wrong, message in [
        (replace(good, sources=()), "has no source"),
        (replace(good, fingerprints={"ocr": "x"}), "unknown stages: ocr"),
        (replace(good, ingested_at=NOW.replace(tzinfo=None)), "has no time zone"),
        (replace(good, doc_id=""), "without a doc_id"),
    ]:
        with pytest.raises(ValueError, match=message):
            documents_table([wrong])
