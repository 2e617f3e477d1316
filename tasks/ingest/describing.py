"""What people know of documents, stored beside them: the part of an ingest run that does it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from patchlight.storage import metadata as stored
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import Source
from patchlight.tasks.ingest import metadata
from patchlight.tasks.ingest.known import Ledger
from patchlight.tasks.ingest.metadatafile import MetadataFile, typed
from patchlight.tasks.ingest.progress import IngestReport

logger = logging.getLogger("patchlight.ingest")


class Describer:
    """Stores what a file says of documents.

    Args:
        database: where to.
        committer: writes there.
        file: as it was read.

    Raises:
        MetadataFileError: the file does not fit what is stored.
    """

    def __init__(self, database: Database, committer: Committer, file: MetadataFile) -> None:
        self._file = file
        self._rows = typed(file, stored.columns(database), stored.exact_as_numbers(database))
        self._committer = committer

    def describe(
        self,
        found: Iterable[tuple[str, Iterable[Source]]],
        ledger: Ledger,
        report: IngestReport,
    ) -> None:
        """Store what the file says of documents, before any of them becomes visible.

        Args:
            found: doc_id and sources of the files that were looked at; what was at these places
                before is not meant any more.
            ledger: what else there is.
            report: told what became of the rows.
        """
        now = [(doc_id, list(sources)) for doc_id, sources in found]
        taken = {source.uri for _, sources in now for source in sources}
        before = (
            (doc_id, [source for source in sources if source.uri not in taken])
            for doc_id, sources in ledger.places()
        )
        places = metadata.Places([*now, *before])
        folder = str(Path(self._file.path).absolute().parent)
        matched = metadata.match(self._file, self._rows, places, folder)
        changed = self._committer.commit_metadata(metadata.of_documents(self._rows, matched.rows))
        report.metadata = metadata.said(self._file, self._rows, matched, changed)
        for problem in matched.problems:
            logger.warning("%s", problem)
        report.failures += matched.problems


def without(database: Database, ledger: Ledger) -> int:
    """Count the documents that queries see and nothing is said of; 0 where nothing is of any."""
    if not stored.columns(database).names:
        return 0
    return len(ledger.visible() - stored.doc_ids(database))


def forget_strays(database: Database, committer: Committer) -> None:
    """Remove what is said of documents that are not there, and did not fail; no run is at work."""
    said = stored.doc_ids(database)
    if not said:
        return
    there = {document.doc_id for document in database.documents()}
    there |= {failure.doc_id for failure in database.failures()}
    committer.drop_metadata(said - there)
