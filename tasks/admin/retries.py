"""What trying again comes to: an ingest of the sources that failed, under the options they had."""

from __future__ import annotations

from patchlight.storage.database import Database
from patchlight.tasks.admin.failures import FailureFilter, choose
from patchlight.tasks.ingest import retrying
from patchlight.tasks.requests.ingest import IngestRequest, RetryRequest


def ingests_of(request: RetryRequest) -> tuple[list[IngestRequest], list[str]]:
    """Return the ingests that try the failures again, and why other failures are not tried.

    Args:
        request: which failures.

    Raises:
        InputError: no document, or more than one, is meant.
        StorageError: the database is not there or does not fit.
    """
    database = Database.open(request.db)
    found = choose(database, FailureFilter(tuple(request.category or ()), doc=request.doc))
    groups, problems = retrying.plan((named.failure for named in found), database.runs())
    ingests = [
        IngestRequest(
            source=uris,
            db=request.db,
            ocr=read_as.ocr,
            lang=read_as.lang,
            dpi=read_as.dpi,
            layout=read_as.layout,
            passwords=request.passwords,
            workers=request.workers,
        )
        for read_as, uris in groups.items()
    ]
    return ingests, problems
