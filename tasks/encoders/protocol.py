"""The protocol between patchlight and an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storage.records import PageEncoding, PageInput, QueryEncoding, TermStatistics


class Encoder(Protocol):
    """Turns pages and queries into vectors that late interaction compares.

    A page's encoding depends on that page alone, never on the other pages of a call.

    Attributes:
        name: what ``--encoder`` takes.
        dim: length of a vector.
        needs_image: whether ``PageInput.image`` must be given.
        needs_words: whether ``PageInput.words`` is read.
        needs_gpu: whether one GPU should be reserved for it.
        needs_statistics: whether query tokens are weighted by corpus statistics.
    """

    name: str
    dim: int
    needs_image: bool
    needs_words: bool
    needs_gpu: bool
    needs_statistics: bool

    def fingerprint(self) -> str:
        """Return a string that differs whenever a page's vectors may differ."""
        ...

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text that corpus statistics count, in order, with repeats."""
        ...

    def encode_pages(self, pages: Sequence[PageInput]) -> list[PageEncoding]:
        """Encode pages; the result has one encoding a page, in order."""
        ...

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding]:
        """Encode queries; the result has one encoding a query, in order.

        Raises:
            ValueError: a query holds nothing that can be searched for; the message says which.
        """
        ...
