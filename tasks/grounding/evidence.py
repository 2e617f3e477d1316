"""How much speaks for a span: of the words of a question, and of its patches; pure.

Both kinds of evidence have one form. Each token of the question has a mass of 1 that lies on the
page: on the words that are equal to it, or on the patches it is similar to. A span holds a part m
of that mass, and a part a of all that is on the page. Then, with the page as the background::

    density  = sum_t w_t ln((1 - b) m_t / a + b)
    coverage = sum_t w_t ln((1 - b) m_t + b)

Density is what a small span has that hits; coverage what a large one has that misses nothing. A
token that lights up everything has m = a, and says nothing by its density.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import ShapeError
from patchlight.tasks.kernels.geometry import Doubles, Floats

_STEEP = 1.0
"""A patch's mass grows by this power of e with each standard deviation of its similarity."""

_FARTHEST = 8.0
"""Standard deviations; what is farther counts as that."""


class Evidence(NamedTuple):
    """Evidence of S spans.

    Attributes:
        density: (S,) float64; 0 for the page as a whole, at most ``ln(1 / a)``.
        coverage: (S,) float64, at most 0, which the page as a whole has.
    """

    density: Doubles
    coverage: Doubles


class Seen(NamedTuple):
    """What a page's patches say to a question.

    Attributes:
        token_scores: (N, T) similarity of the page's vectors and the tokens that count.
        weights: (T,) of the tokens, above 0.
        cell_to_vector: (rows * cols,) row of the vector of each cell, -1 for none.
        grid: rows and columns.
    """

    token_scores: Floats
    weights: Floats
    cell_to_vector: NDArray[np.integer]
    grid: tuple[int, int]

    @property
    def shares(self) -> Doubles:
        """(T,) of the weights, adding up to 1."""
        shares: Doubles = self.weights.astype(np.float64) / self.weights.sum()
        return shares


def evidence(mass: Doubles, share: Doubles, weights: Doubles, background: float) -> Evidence:
    """Weigh what spans hold of each token's mass.

    Args:
        mass: (S, T) in [0, 1], what the span holds of each token's mass.
        share: (S,) in [0, 1], what it holds of all that is on the page.
        weights: (T,) at least 0, adding up to 1 or less.
        background: b, in (0, 1).

    Raises:
        ShapeError: the arrays do not fit together.

    The whole page, a quarter of it that holds all of the only token, and one that holds none.

    >>> mass, share = np.array([[1.0], [1.0], [0.0]]), np.array([1.0, 0.25, 0.25])
    >>> found = evidence(mass, share, np.array([1.0]), 0.1)
    >>> found.density.tolist(), found.coverage.tolist()
    ([0.0, 1.308, -2.303], [0.0, 0.0, -2.303])
    """
    if mass.shape != (len(share), len(weights)):
        raise ShapeError(f"{mass.shape} masses of {len(share)} spans and {len(weights)} tokens")
    part = np.maximum(share, 1e-6)[:, None]  # (S, 1)
    density = np.log((1 - background) * mass / part + background) @ weights  # (S,)
    coverage = np.log((1 - background) * mass + background) @ weights  # (S,)
    return Evidence(density, coverage)


def patch_mass(token_scores: Floats) -> Doubles:
    """Spread each token's mass over the patches of a page by its similarities.

    These are standardised over the page's patches first, so that neither their scale nor their
    shift matters, and then go through a softmax.

    Args:
        token_scores: (N, T) similarity of each patch and token; N may be 0.

    Returns:
        (N, T) float64; each column adds up to 1. Equal similarities give equal masses.

    >>> patch_mass(np.array([[0.9, 0.3], [-0.9, 0.3]])).tolist()
    [[0.881, 0.5], [0.119, 0.5]]
    """
    scores = token_scores.astype(np.float64)  # (N, T)
    if not len(scores):
        return scores
    deviation = scores.std(axis=0)  # (T,)
    # Rounding must not turn a constant column into a pattern.
    flat = deviation <= 1e-6 * np.abs(scores).max(axis=0, initial=0.0)  # (T,)
    scores = (scores - scores.mean(axis=0)) / np.where(flat, 1.0, deviation)  # (N, T)
    scores = np.where(flat, 0.0, scores)  # (N, T)
    mass = np.exp(_STEEP * np.minimum(scores, _FARTHEST))  # (N, T)
    spread: Doubles = mass / mass.sum(axis=0)  # (N, T)
    return spread


def cells_held(boxes: Doubles, rows: int, cols: int) -> Doubles:
    """Return what boxes hold of each cell of a grid: (S, rows * cols) in [0, 1].

    >>> cells_held(np.array([[0.0, 0.0, 0.75, 0.5]]), 2, 2).tolist()
    [[1.0, 0.5, 0.0, 0.0]]
    """
    y, x = np.arange(rows), np.arange(cols)  # (rows,), (cols,)
    down = np.minimum(boxes[:, 3:] * rows, y + 1) - np.maximum(boxes[:, 1:2] * rows, y)  # (S, rows)
    across = np.minimum(boxes[:, 2:3] * cols, x + 1) - np.maximum(boxes[:, :1] * cols, x)
    held: Doubles = np.clip(down, 0, 1)[:, :, None] * np.clip(across, 0, 1)[:, None, :]
    return held.reshape(len(boxes), rows * cols)  # (S, rows * cols)


class HeldPatches:
    """What boxes hold of a page's patches.

    Args:
        boxes: (S, 4) fractions of the page.
    """

    def __init__(self, boxes: Doubles) -> None:
        self._boxes = boxes
        self._held: dict[tuple[int, int], Doubles] = {}

    def mass(
        self, token_scores: Floats, cell_to_vector: NDArray[np.integer], grid: tuple[int, int]
    ) -> tuple[Doubles, Doubles]:
        """Return what they hold of each token's mass, and of the page's patches.

        Cells without a vector are not there: nothing is printed in them.

        Args:
            token_scores: (N, T) similarity of the page's vectors and the tokens.
            cell_to_vector: (rows * cols,) row of the vector of each cell, -1 for none.
            grid: rows and columns.

        Returns:
            (S, T) in [0, 1] and (S,) in [0, 1]; 0 where the page has no vector.

        Of three cells the second has no vector: the left half of the page holds one of two.

        >>> held = HeldPatches(np.array([[0.0, 0.0, 0.5, 1.0]]))
        >>> mass, part = held.mass(np.array([[-0.2], [0.6]]), np.array([0, -1, 1]), (1, 3))
        >>> mass.tolist(), part.tolist()
        ([[0.119]], [0.5])
        """
        there = np.flatnonzero(cell_to_vector >= 0)  # (n,)
        if not len(there):
            return np.zeros((len(self._boxes), token_scores.shape[1])), np.zeros(len(self._boxes))
        if grid not in self._held:
            self._held[grid] = cells_held(self._boxes, *grid)
        held = self._held[grid][:, there]  # (S, n)
        mass = held @ patch_mass(token_scores[cell_to_vector[there]])  # (S, T)
        return np.minimum(mass, 1.0), held.mean(axis=1)
