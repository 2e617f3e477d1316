"""Any page, with any question, for the property tests of what may be returned of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.kernels.geometry import Doubles
from tests.region_examples import page_of

# Sixteenths: what is equal stays equal when it is scaled or shifted.
SIXTEENTHS = st.integers(-16, 16).map(lambda i: i / 16)
TEXTS = st.sampled_from(
    [
        "",
        "harbour",
        "depth of the harbour",
        "Figure 3",
        "the",
        "one two three four five six",
        "12.50",
        "3 May 2020",
    ]
)
QUESTIONS = st.sampled_from(
    ["", "the", "harbour", "What depth has the harbours' figure?", "On what date in 2020?", "港?"]
)


@dataclass(frozen=True)
class Case:
    """A page, a question, and what the page's patches say to it."""

    regions: Regions
    question: str
    token_scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    cells: NDArray[np.int32]
    grid: tuple[int, int]

    @property
    def seen(self) -> Seen:
        """As signals are asked for."""
        return Seen(self.token_scores, self.weights, self.cells, self.grid)


@st.composite
def boxes(draw: st.DrawFn, most: int = 8) -> Doubles:
    """On a grid, so that they often touch or equal each other; or tiny, or the page."""
    side = st.tuples(st.integers(0, 16), st.integers(0, 16)).filter(lambda s: s[0] != s[1])
    some = st.tuples(side, side).map(
        lambda s: (min(s[0]) / 16, min(s[1]) / 16, max(s[0]) / 16, max(s[1]) / 16)
    )
    other = st.sampled_from([(0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.5 + 1e-7, 0.5 + 1e-7)])
    rows = draw(st.lists(st.one_of(some, some, other), max_size=most))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


@st.composite
def pages(draw: st.DrawFn, kinds: Sequence[RegionKind] = tuple(RegionKind)) -> Regions:
    places = draw(boxes())
    n = len(places)
    seen = st.tuples(st.sampled_from(kinds), TEXTS, st.sampled_from([0.0, 0.5, 1.0]))
    rows = draw(st.lists(seen, min_size=n, max_size=n))
    return page_of(
        kinds=[kind for kind, _, _ in rows],
        boxes=places,
        order=draw(st.permutations(range(n))),
        confidence=[confidence for _, _, confidence in rows],
        texts=[text for _, text, _ in rows],
    )


@st.composite
def cases(draw: st.DrawFn, kinds: Sequence[Sequence[RegionKind]]) -> Case:
    """Also pages without regions, words, patches or vectors, and questions of one token.

    Args:
        draw: of hypothesis.
        kinds: a page has regions of one of these.
    """
    rows, cols, vectors = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 6))
    tokens = draw(st.integers(1, 3))
    cells = draw(st.lists(st.integers(-1, vectors - 1), min_size=rows * cols, max_size=rows * cols))
    return Case(
        draw(pages(draw(st.sampled_from(kinds)))),
        draw(QUESTIONS),
        draw(arrays.arrays(np.float64, (vectors, tokens), elements=SIXTEENTHS)),
        np.array(draw(st.lists(st.floats(0.01, 9), min_size=tokens, max_size=tokens))),
        np.array(cells, np.int32),
        (rows, cols),
    )
