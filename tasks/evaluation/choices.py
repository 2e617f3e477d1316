"""Choices of an evaluation that users make by name."""

from __future__ import annotations

from enum import StrEnum


class Truth(StrEnum):
    """What several true boxes of a row stand for."""

    ALL = "all"
    """Parts of the evidence: all of them are to be found."""
    ANY = "any"
    """Places that each hold the answer: one is enough."""


class Protocol(StrEnum):
    """How questions are asked."""

    GIVEN = "given"
    """With the page of evidence: one row for each of a question's pages."""
    END_TO_END = "end-to-end"
    """Without: the page must be found first."""


class Protocols(StrEnum):
    """Which of them are run."""

    BOTH = "both"
    GIVEN = "given"
    END_TO_END = "end-to-end"

    @property
    def chosen(self) -> tuple[Protocol, ...]:
        """The protocols, in the order they are run."""
        return tuple(p for p in Protocol if self in (Protocols.BOTH, p.value))


class Within(StrEnum):
    """Where a page must be found, end to end."""

    DATABASE = "database"
    DOCUMENT = "document"
