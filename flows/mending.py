"""Commands that try again what failed, remove documents, and migrate a database."""

from __future__ import annotations

import sys
from datetime import timedelta

import typer

from patchlight.flows import options, reports
from patchlight.storage.errors import ExitCode
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.requests.fields import database_of
from patchlight.tasks.requests.ingest import RetryRequest
from patchlight.tasks.requests.migrate import MigrateRequest


@options.of(RetryRequest, in_unicode=True)
def retry_command(request: RetryRequest, as_json: options.JsonOption = False) -> ExitCode:
    """Try failed documents and pages again, those too that an ingest leaves alone.

    Each is read under the options of the run in which it failed. Of a document that has a chosen
    failure all failed pages are tried.

    Example: patchlight retry --db mydb --category encrypted --passwords passwords.txt
    """
    from patchlight.tasks.admin.preflight import check_ingest
    from patchlight.tasks.admin.retries import ingests_of
    from patchlight.tasks.ingest.retrying import merged

    ingests, problems = ingests_of(request)
    for again in ingests:
        check_ingest(again, load_settings())
    if ingests:
        from patchlight.flows.ingest import retry
        from patchlight.tasks.orchestration import prefectserver

        prefectserver.start()
        report = reports.of(retry(**dict(request), return_state=True))
    else:
        report = merged([], problems)
    reports.show_retry(report, request.db, as_json)
    return reports.code_of_ingest(report)


def delete_command(
    documents: options.DocumentsArgument,
    db: options.DbOption = None,
    yes: options.YesOption = False,
) -> ExitCode:
    """Remove documents from a database, with all that is stored of them; files stay.

    Example: patchlight delete reports/draft.pdf --db mydb
    """
    from patchlight.storage.cleaning import KEEP_VERSIONS
    from patchlight.storage.database import Database
    from patchlight.tasks.ingest import removing

    database = Database.open(database_of(db))
    removal = removing.find(database, documents)
    reports.show_removal(removal)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nothing was removed: there is no terminal to ask on; give --yes")
        if not typer.confirm("Remove this?", err=True):
            print("nothing was removed")
            return ExitCode.OK
    keep = timedelta(hours=load_settings().keep_read_h)
    removed = removing.remove(database, removal, keep)
    print(f"removed: {removed} documents, {len(removal.failures)} failures of files")
    if removed:
        print(reports.left_on_disk(KEEP_VERSIONS, keep))
    return ExitCode.OK


@options.of(MigrateRequest)
def migrate_command(request: MigrateRequest, as_json: options.JsonOption = False) -> ExitCode:
    """Make a database of the present schema of an older one; no document is read again.

    The old one is only read, and kept beside the new one. Cut off, run it again: it goes on.

    Example: patchlight migrate --db mydb
    """
    from patchlight.tasks.admin.migrating import migrate

    reports.show_migration(migrate(request), as_json)
    return ExitCode.OK
