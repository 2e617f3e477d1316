"""How an ingest run went."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class IngestReport:
    """How an ingest run ended; printed, and stored in ``runs``.

    Attributes:
        run_id: the run.
        documents_added: documents that became visible or were redone.
        documents_unchanged: documents that were there already, as they are.
        documents_failed: sources of which not one page could be stored.
        documents_removed: documents removed because their files are gone (``--sync``).
        documents_elsewhere: names of documents that another run had in work all the time.
        pages_added: pages stored.
        pages_failed: pages in ``failures``.
        pages_unchanged: pages of the unchanged documents.
        skipped: suffix -> files in folders whose type is not read.
        gone: URIs in the database whose files are gone from the folders named.
        failures: message of every document and page that failed.
    """

    run_id: str
    documents_added: int = 0
    documents_unchanged: int = 0
    documents_failed: int = 0
    documents_removed: int = 0
    documents_elsewhere: list[str] = field(default_factory=list)
    pages_added: int = 0
    pages_failed: int = 0
    pages_unchanged: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
