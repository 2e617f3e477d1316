"""BM25 over a list of texts, the lexical baseline: k1 = 1.5, b = 0.75, no stemming."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN as STOP_WORDS

from patchlight.tasks.kernels.geometry import Doubles, Indices

K1 = 1.5
B = 0.75

__all__ = ["STOP_WORDS", "Bm25", "best_first"]


class Bm25:
    """An index; tokens are lower-cased runs of letters and digits.

    Args:
        texts: what is ranked; they alone make the IDF.
        leave_out: tokens that do not count.
    """

    def __init__(self, texts: Sequence[str], leave_out: Collection[str] = ()) -> None:
        self._leave_out = frozenset(leave_out)
        self._size = len(texts)
        tokens = [self._tokens(text) for text in texts]
        self._vocabulary = {token for text in tokens for token in text}
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs each index
        self._index = bm25s.BM25(k1=K1, b=B)
        if self._vocabulary:
            self._index.index(tokens, show_progress=False)

    def scores(self, query: str) -> Doubles:
        """Return (n,) scores of the texts; 0 where no word of the query is found."""
        tokens = [token for token in self._tokens(query) if token in self._vocabulary]
        if not tokens:
            return np.zeros(self._size)
        return np.asarray(self._index.get_scores(tokens), np.float64)

    def _tokens(self, text: str) -> list[str]:
        found = re.findall(r"[^\W_]+", text.lower())
        return [token for token in found if token not in self._leave_out]


def best_first(scores: Doubles) -> Indices:
    """Return positions by falling score, ties by position."""
    return np.argsort(-scores, kind="stable")
