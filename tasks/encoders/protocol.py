"""The protocol between patchlight and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from patchlight.storage.pages import PageInput
from patchlight.storage.records import (
    EncoderIdentity,
    PageEncoding,
    QueryEncoding,
    TermStatistics,
)

EncodeQueries = Callable[[Sequence[str], TermStatistics | None], list[QueryEncoding | Exception]]
"""What ``Encoder.encode_queries`` is, wherever it runs."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What can be said of an encoder without loading its weights; picklable.

    Attributes:
        identity: what a database keeps of it.
        needs_image: whether ``PageInput.image`` must be given.
        needs_words: whether ``PageInput.words`` is read.
        wants_gpu: whether a GPU should be reserved for it where there is one; without one it
            works, slowly.
        image_pixels: pixels of a page's picture beyond which it sees no more; 0 for any.
        weight_bytes: memory its weights take in float32; 0 where that does not matter.
        terms: the terms of a text that corpus statistics count, in order, with repeats; None
            for an encoder whose query tokens are not weighted by statistics.
    """

    identity: EncoderIdentity
    needs_image: bool
    needs_words: bool
    wants_gpu: bool
    image_pixels: int = 0
    weight_bytes: int = 0
    terms: Callable[[str], list[str]] | None = None


class Encoder(Protocol):
    """Turns pages and queries into vectors that late interaction compares.

    A page's encoding depends on that page alone, never on the other pages of a call. Methods
    may be called from several threads at once. They raise ``EncoderUnavailable`` when the encoder
    was closed or works no more, and ``DeviceLost`` if a new process may help.

    Attributes:
        info: what it is.
    """

    info: EncoderInfo

    def encode_pages(self, pages: Sequence[PageInput]) -> list[PageEncoding | Exception]:
        """Encode pages.

        Returns:
            For each page, in order, its encoding, or why it has none.
        """
        ...

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        """Encode queries.

        Returns:
            For each query, in order, its encoding, or why it has none: a ``ValueError`` if it
            holds nothing that can be searched for.
        """
        ...
