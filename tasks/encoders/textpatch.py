"""The embedded page encoder: word vectors of a page's words on a patch grid.

Each word's vector is spread over the grid cells its box covers; a cell's vector is the sum,
scaled to unit length. It reads words only and sees no picture: figures count by the text in and
around them. A vector is three parts side by side::

    [ context | spelling | floor ]

- context: the meaning of the cell's words, from a small sentence model (English).
- spelling: a hash of the words of the cell and, less, of its neighbours: exact names, codes and
  numbers, in any language, and words of a phrase that stand side by side.
- floor: 0 in every cell and 1 in one extra vector a page, which no cell points to. The page's
  best match of a query token is so never below ``FLOOR``. Below it lies chance, and chance
  favours the page with more cells.

Late interaction, its storage and region scores need to know nothing of this. The constants were
chosen by page retrieval on 33 mixed documents and 13 filings (2,204 pages, 258 questions); their
neighbours measure alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from patchlight.storage.pages import PageInput
from patchlight.storage.records import (
    EncoderIdentity,
    FloatArray,
    PageEncoding,
    QueryEncoding,
    TermStatistics,
)
from patchlight.tasks.common.terms import terms
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.encoders.wordvectors import (
    CONTEXT_DIM,
    MODEL,
    SPELLING_DIM,
    TOKENIZER,
    ContextModel,
    spelling_vectors,
    unit_rows,
)

_T = TypeVar("_T")

NAME = "text-patch"
"""What ``--encoder`` takes."""

VERSION = 1
"""Raised with every change that moves a page's vectors."""

CELLS = 768
"""Cells of a grid, about; what the ColVision models have. Rows and columns follow the page's
shape so that cells are square."""

MIN_SIDE = 4
"""Least rows and columns, for strips."""

CONTEXT_SHARE = 0.85
"""Share of a cosine that is the context's; the rest is the spelling's. 0.8 and 0.9 measure alike;
without a spelling part pages rank worse on mixed documents, the same on filings."""

FLOOR = 0.4
"""Cosine below which a query token counts as not found on a page, 0..1. On filings the best cell
for a word that is not on the page has 0.29 in the middle case and 0.47 at the 95th percentile;
for a word that is, 0.41 in the middle case."""

NEIGHBOUR = 0.5
"""What a word counts for the spelling part of the next cell, against 1 in its own; squared for
the cell after that in its row. It lets words that stand together be found together."""

_WORDS_AT_ONCE = 1024
"""Bounds the (words, cells) overlap matrix to 3 MB."""

_LEAST_OVERLAP = 1e-3
"""Share of a word in a cell below which the cell does not hold it: box edges on cell borders."""


def describe() -> EncoderInfo:
    """Say what the encoder is, without loading it."""
    fingerprint = (
        f"{NAME}-{VERSION}/{CONTEXT_DIM}+{SPELLING_DIM}+1/"
        f"{MODEL.sha256[:12]}/{TOKENIZER.sha256[:12]}"
    )
    return EncoderInfo(
        EncoderIdentity(NAME, fingerprint, CONTEXT_DIM + SPELLING_DIM + 1),
        needs_image=False,
        needs_words=True,
        wants_gpu=False,
        terms=terms,
    )


def check_installed() -> None:
    """Check that the weights are there, without loading the model.

    Raises:
        EncoderUnavailable: the weights are not installed, or are others.
    """
    MODEL.read()
    TOKENIZER.read()


class TextPatchEncoder:
    """Encodes pages from their words; see the module's docstring.

    Deterministic on one machine; processors with other int8 instructions may differ in the last
    digits. An instance takes about 0.2 GB of memory and is not meant to be pickled.
    """

    def __init__(self) -> None:
        """Load the model.

        Raises:
            EncoderUnavailable: the weights are not installed, or are others.
        """
        self.info = describe()
        self.dim = self.info.identity.dim
        self._model = ContextModel()

    def encode_pages(self, pages: Sequence[PageInput]) -> list[PageEncoding | Exception]:
        """Encode pages, each by itself.

        Returns:
            For each page, in order: a grid of about ``CELLS`` cells; one unit vector for each
            cell that holds a word, in raster order, then the floor vector. A page without a
            word has no vectors. No two cells share one. A page whose width or height is not
            above 0 has a ``ValueError`` instead.
        """
        return [_or_error(partial(self._encode_page, page)) for page in pages]

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        """Encode queries, each by itself; one token a word.

        Args:
            queries: questions as asked.
            statistics: document frequencies that tokens are weighted by: ``ln(1 + (N - n + 0.5)
                / (n + 0.5))`` for a term on n of N pages, a word's rarest term counting. Without
                them every token weighs 1.

        Returns:
            For each query, in order, its encoding; a ``ValueError`` for one that holds no letter
            and no digit.
        """
        return [_or_error(partial(self._encode_query, query, statistics)) for query in queries]

    def _encode_page(self, page: PageInput) -> PageEncoding:
        rows, cols = grid_shape(page.width_pt, page.height_pt)
        split = [terms(text) for text in page.words.texts]
        words = page.words.take(np.flatnonzero([bool(found) for found in split]))
        held, overlap_sums = spread(
            words.boxes.astype(np.float32),
            np.hstack(
                [
                    self._model.vectors(words.texts),
                    spelling_vectors([found for found in split if found]),
                ]
            ),
            rows,
            cols,
        )
        cell_to_vector = np.full(rows * cols, -1, dtype=np.int32)
        if not held.any():
            return PageEncoding(rows, cols, np.zeros((0, self.dim), np.float32), cell_to_vector)
        cell_to_vector[held] = np.arange(held.sum(), dtype=np.int32)
        spelling = smooth(overlap_sums[:, CONTEXT_DIM:].reshape(rows, cols, -1))
        spelling = spelling.reshape(rows * cols, -1)
        vectors = np.zeros((int(held.sum()) + 1, self.dim), dtype=np.float32)
        vectors[:-1, :-1] = mix(overlap_sums[held, :CONTEXT_DIM], spelling[held])
        vectors[-1, -1] = 1
        return PageEncoding(rows, cols, vectors, cell_to_vector)

    def _encode_query(self, query: str, statistics: TermStatistics | None) -> QueryEncoding:
        split = [(word, found) for word in query.split() if (found := terms(word))]
        if not split:
            raise ValueError(f"the query {query!r} holds no letter and no digit to search for")
        tokens = tuple(word for word, _ in split)
        found_terms = [found for _, found in split]
        vectors = np.full((len(tokens), self.dim), FLOOR, dtype=np.float32)
        vectors[:, :-1] = mix(self._model.vectors(tokens), spelling_vectors(found_terms))
        weights = [max(rarity(term, statistics) for term in found) for found in found_terms]
        return QueryEncoding(
            tokens,
            unit_rows(vectors),
            np.array(weights, dtype=np.float32),
            np.ones(len(tokens), dtype=np.bool_),
        )


def _or_error(encode: Callable[[], _T]) -> _T | Exception:
    try:
        return encode()
    except Exception as error:  # of this page or query; the others go on
        return error


def grid_shape(width: float, height: float) -> tuple[int, int]:
    """Return rows and columns of the grid of a page; any unit of length.

    >>> grid_shape(3, 4), grid_shape(4, 3), grid_shape(1, 1000)
    ((32, 24), (24, 32), (192, 4))

    Raises:
        ValueError: a side is not above 0.
    """
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"a page of {width} x {height} has no grid")
    rows = max(MIN_SIDE, min(CELLS // MIN_SIDE, round(math.sqrt(CELLS * height / width))))
    return rows, max(MIN_SIDE, round(CELLS / rows))


def spread(
    boxes: FloatArray, values: FloatArray, rows: int, cols: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], FloatArray]:
    """Spread what words carry over the cells their boxes cover, by shares of area.

    Args:
        boxes: (n, 4) float32, x0 y0 x1 y1 in fractions of the page. What lies off the page is
            cut; a box that is nothing then counts for the cell nearest to it.
        values: (n, d) float32, what each word carries.
        rows: rows of the grid.
        cols: columns of the grid.

    Returns:
        (rows * cols,) bool, cells that hold a word; (rows * cols, d) float32, per cell the sum
        of the words' values times their share in it. A word's shares sum to 1.
    """
    total = np.zeros((rows * cols, values.shape[1]), dtype=np.float32)
    held = np.zeros(rows * cols, dtype=np.bool_)
    for first in range(0, len(boxes), _WORDS_AT_ONCE):
        part = boxes[first : first + _WORDS_AT_ONCE]
        down = _shares(part[:, 1], part[:, 3], rows)  # (n, rows)
        across = _shares(part[:, 0], part[:, 2], cols)  # (n, cols)
        share = (down[:, :, None] * across[:, None, :]).reshape(len(part), -1)
        share[share < _LEAST_OVERLAP] = 0
        held |= share.any(axis=0)
        total += share.T @ values[first : first + _WORDS_AT_ONCE]
    return held, total


def _shares(low: FloatArray, high: FloatArray, parts: int) -> FloatArray:
    """Return (n, parts), shares of n intervals in each of `parts` equal parts of [0, 1]."""
    start = np.clip(np.minimum(low, high), 0, 1 - 1e-4)[:, None]
    end = np.maximum(np.clip(np.maximum(low, high), 0, 1)[:, None], start + 1e-4)
    edges = np.linspace(0, 1, parts + 1, dtype=np.float32)
    overlap = np.clip(np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1]), 0, None)
    shares: FloatArray = overlap / overlap.sum(axis=1, keepdims=True)
    return shares


def smooth(grid: FloatArray) -> FloatArray:
    """Let each cell share in its neighbours: two on each side, then the rows above and below.

    Args:
        grid: (rows, cols, d) float32.
    """
    wide = grid.copy()
    for step, factor in ((1, NEIGHBOUR), (2, NEIGHBOUR**2)):
        wide[:, step:] += factor * grid[:, :-step]
        wide[:, :-step] += factor * grid[:, step:]
    tall = wide.copy()
    tall[1:] += NEIGHBOUR * wide[:-1]
    tall[:-1] += NEIGHBOUR * wide[1:]
    return tall


def mix(context: FloatArray, spelling: FloatArray) -> FloatArray:
    """Join (n, CONTEXT_DIM) and (n, SPELLING_DIM) to (n, sum) float32 unit vectors by share.

    The cosine of two results is ``CONTEXT_SHARE`` of the contexts' and the rest of the
    spellings'.
    """
    parts = [
        math.sqrt(CONTEXT_SHARE) * unit_rows(context),
        math.sqrt(1 - CONTEXT_SHARE) * unit_rows(spelling),
    ]
    return unit_rows(np.hstack(parts))


def rarity(term: str, statistics: TermStatistics | None) -> float:
    """Return the weight of a term, above 0: its inverse document frequency, 1 without statistics.

    >>> round(rarity("cash", TermStatistics("s", 3, {"cash": 1})), 3)
    0.981
    """
    if statistics is None:
        return 1.0
    pages = statistics.n_pages
    holding = min(statistics.document_frequency.get(term, 0), pages)
    return math.log1p((pages - holding + 0.5) / (holding + 0.5))
