"""Which stages of a page are up to date, and which must be done again; pure.

A stage reads what stages before it made::

    render --> words (where they come from OCR) --> regions (which look at the page too)
       |         |
       +---------+--> encoder (whichever of the two it reads)

A stage is done again when its own fingerprint is another now, or when what it reads was done
again; nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Redo(StrEnum):
    """What an ingest does again."""

    MISSING = "missing"
    """What is not there, and what failed and may go well now, up to a number of attempts."""
    FAILED = "failed"
    """That, and whatever else failed."""
    ALL = "all"
    """Every page of the documents named."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done of a page.

    Attributes:
        words: whether words are read from the source; else those stored are taken.
        regions: whether regions are made; else those stored are kept.
        encode: whether patch vectors are made; else those stored are kept.
    """

    words: bool
    regions: bool
    encode: bool


WHOLE = Work(words=True, regions=True, encode=True)
"""All that a page that is not there needs."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages a run makes pages with.

    Attributes:
        render: fingerprint of drawing.
        words: fingerprints of words that the run would not make otherwise.
        regions: fingerprints of regions that the run would not make otherwise.
        encoder: fingerprint of the encoder and of the form of its vectors.
        encodes_words: whether the encoder reads words.
        encodes_pictures: whether it sees pictures.
    """

    render: str
    words: frozenset[str]
    regions: frozenset[str]
    encoder: str
    encodes_words: bool
    encodes_pictures: bool

    def work(self, made: Mapping[str, str] | None) -> Work | None:
        """Return what is to be done of a page; None if it is up to date.

        Args:
            made: stage -> fingerprint of what is stored of it; None if nothing is.
        """
        if made is None:
            return WHOLE
        words = made["words"] not in self.words
        encode = (
            made["encoder"] != self.encoder
            or (self.encodes_pictures and made["render"] != self.render)
            or (self.encodes_words and words)
        )
        regions = words or made["regions"] not in self.regions
        return Work(words, regions, encode) if regions or encode else None

    def made(self, words: str, regions: str) -> dict[str, str]:
        """Return the fingerprints of a page that the run made or brought up to date.

        Args:
            words: fingerprint of its words.
            regions: fingerprint of its regions.
        """
        return {
            "render": self.render,
            "words": words,
            "regions": regions,
            "encoder": self.encoder,
        }
