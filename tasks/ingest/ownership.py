"""Which documents a run has in work: taking them, holding them, giving them back.

Several runs may work on one database at once. A run takes a document by its row in ``documents``
before it writes the first page of it, and leaves alone what another live run has taken
(``tasks.ingest.transitions``). A run that was killed is found out by its lease, and what it had
taken is free again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from patchlight.storage.committer import Change, Committer
from patchlight.storage.database import Database
from patchlight.storage.leases import Lease
from patchlight.storage.records import Document, Run
from patchlight.tasks.common.runs import Others
from patchlight.tasks.ingest import transitions
from patchlight.tasks.ingest.known import Ledger
from patchlight.tasks.reading.shardplan import InspectedFile

_LOOKS = 5
"""How often a document is looked at again because another run changed it meanwhile."""


class Ownership:
    """The documents that a run has taken, those that others have, and the rows of all.

    Has no lock of its own. Threads that share one hold the lock of the run (``IngestRun``) while
    they call it; the ledger is then theirs too. Every method that writes raises ``LeaseLost`` if
    another run took this one for dead, and ``StorageUnavailable``.

    Args:
        database: where the documents are.
        committer: changes their rows.
        lease: the run's; what it has taken is its own as long as it is held.
        ledger: is told every row that is read or written here.
        run_id: the run.
        others: the other runs, as it sees them.
    """

    def __init__(
        self,
        database: Database,
        committer: Committer,
        lease: Lease,
        ledger: Ledger,
        run_id: str,
        others: Others,
    ) -> None:
        self._database = database
        self._committer = committer
        self._lease = lease
        self._ledger = ledger
        self._run_id = run_id
        self._others = others
        self._expected: dict[str, tuple[InspectedFile, int]] = {}
        self._taken: set[str] = set()
        self._elsewhere: dict[str, InspectedFile] = {}
        self._looks: dict[str, int] = {}

    def check(self) -> None:
        """Make sure that what was taken is still the run's. Call it before each commit.

        Raises:
            LeaseLost: another run took this one for dead.
        """
        self._lease.check()

    def free(self, files: Iterable[InspectedFile]) -> list[tuple[InspectedFile, Document | None]]:
        """Return the documents that no other run has, with their rows; note the others."""
        files = list(files)
        rows = self._database.document_rows([file.doc_id for file in files])
        others = self._others.at_work()
        free = []
        for file in files:
            row = rows.get(file.doc_id)
            if row:
                self._ledger.put(row)
            if row and transitions.is_held(row, self._run_id, others):
                self._elsewhere[file.doc_id] = file
            else:
                free.append((file, row))
        return free

    def expect(self, file: InspectedFile, row: Document | None) -> None:
        """Note a document that is to be taken, as it is if its row is still as it was.

        Args:
            file: the document.
            row: as it was when the run decided what is to be done of it.
        """
        self._expected[file.doc_id] = (file, row.revision if row else 0)

    def take(self, doc_ids: Iterable[str]) -> set[str]:
        """Take documents into work that are not taken yet.

        Args:
            doc_ids: the documents; those that are not expected are ignored.

        Returns:
            Those that the run has now. The others are given way.
        """
        known = [doc_id for doc_id in doc_ids if doc_id in self._expected]
        new = [doc_id for doc_id in known if doc_id not in self._taken]
        if new:
            others, now = self._others.at_work(), datetime.now(UTC)

            def claim(doc_id: str, row: Document | None) -> Document | None:
                file, revision = self._expected[doc_id]
                return transitions.claim(
                    row, file, self._run_id, revision=revision, live=others, now=now
                )

            rows = self.change(new, claim)
            self._taken |= {doc_id for doc_id in new if self._is_own(rows[doc_id])}
            for doc_id in new:
                if doc_id not in self._taken:
                    self.give_way(doc_id)
        return self._taken.intersection(known)

    def held(self, doc_ids: Collection[str]) -> set[str]:
        """Return those of some taken documents that are still the run's, by their rows as they are.

        Among them is one that the run finished by a write that seemed to fail;
        not among them is one that another run has taken.
        """
        rows = self._database.document_rows(doc_ids)
        return {
            doc_id
            for doc_id in doc_ids
            if self._is_own(rows.get(doc_id))
            or transitions.is_finished_by(rows.get(doc_id), self._run_id)
        }

    def give_way(self, doc_id: str) -> None:
        """Leave a document to another run for now; it is looked at again at the end."""
        self._taken.discard(doc_id)
        self._elsewhere[doc_id] = self._expected.pop(doc_id)[0]

    def given_back(self) -> tuple[list[InspectedFile], list[Run]]:
        """Return documents that no other run has any more, and the runs that have the rest.

        A document is returned a few times at most: others may change it again and again.
        """
        others = self._others.at_work()
        rows = self._database.document_rows(list(self._elsewhere))
        free, holders = [], {}
        for doc_id in self._elsewhere:
            row = rows.get(doc_id)
            if row and transitions.is_held(row, self._run_id, others):
                holders[row.run_id] = others[row.run_id]
            elif self._looks.setdefault(doc_id, 0) < _LOOKS:
                self._looks[doc_id] += 1
                free.append(doc_id)
        return [self._elsewhere.pop(doc_id) for doc_id in free], list(holders.values())

    @property
    def has_given_way(self) -> bool:
        """Whether there are documents that are to be looked at again."""
        return bool(self._elsewhere)

    def leave_the_rest(self) -> list[str]:
        """Leave to other runs what they still have; return the names of its files."""
        labels = sorted(file.label for file in self._elsewhere.values())
        self._elsewhere.clear()
        return labels

    def change(self, doc_ids: Sequence[str], change: Change) -> dict[str, Document | None]:
        """Change rows of documents in one commit, and remember them as they are then."""
        self._lease.check()
        rows = self._committer.change_documents(doc_ids, change)
        for row in rows.values():
            if row is not None:
                self._ledger.put(row)
        return rows

    def lose(self, gone: Collection[str]) -> tuple[list[str], set[str]]:
        """Take files that are gone from their documents.

        Args:
            gone: their URIs.

        Returns:
            The documents that have no file left, which the run has now in work and is to remove;
            and all URIs of documents that other runs have, which were left as they are.
        """
        ids = sorted({doc_id for uri in gone for doc_id in self._ledger.at(uri)})
        return self.lose_from(ids, gone)

    def lose_from(self, ids: Sequence[str], gone: Collection[str]) -> tuple[list[str], set[str]]:
        """Take sources from some documents; see `lose`."""
        others = self._others.at_work()
        rows = self.change(ids, lambda _, row: transitions.lose(row, gone, self._run_id, others))
        emptied = [doc_id for doc_id, row in rows.items() if self._is_own(row)]
        held = [
            row for row in rows.values() if row and transitions.is_held(row, self._run_id, others)
        ]
        return emptied, {source.uri for row in held for source in row.sources}

    def still_own(self, doc_ids: Iterable[str]) -> list[str]:
        """Return those of some documents that the run has in work by their rows as they are."""
        rows = self._database.document_rows(doc_ids)
        return sorted(doc_id for doc_id, row in rows.items() if self._is_own(row))

    def _is_own(self, row: Document | None) -> bool:
        return transitions.is_owned(row, self._run_id)
