"""Commands that try again what failed, and that remove documents."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from flows import options, reports
from flows.options import database_of
from storage.errors import ExitCode
from tasks.common.errors import UsageError
from tasks.common.settings import load_settings
from tasks.reading.fingerprints import Redo

if TYPE_CHECKING:
    from tasks.ingest.retrying import ReadAs


def retry_command(
    db: options.DbOption = None,
    category: options.CategoryOption = None,
    doc: options.OfDocumentOption = None,
    passwords: options.PasswordsOption = None,
    workers: options.WorkersOption = None,
    as_json: options.JsonOption = False,
) -> ExitCode:
    """Try failed documents and pages again, those too that an ingest leaves alone.

    Each is read under the options of the run in which it failed. Of a document that has a chosen
    failure all failed pages are tried.

    Example: patchlight retry --db mydb --category encrypted --passwords passwords.txt
    """
    from storage.database import Database
    from tasks.admin.failures import Choice, choose
    from tasks.admin.preflight import check_ingest
    from tasks.common.modes import OcrMode
    from tasks.documents.sources import portable
    from tasks.ingest import retrying

    options.restart_in_unicode({doc: portable(doc)} if doc else {})
    uri = database_of(db)
    database = Database.open(uri)
    found = choose(database, Choice(tuple(category or ()), doc=doc))
    groups, problems = retrying.plan((named.failure for named in found), database.runs())
    for read_as, uris in groups.items():
        check_ingest(
            uris,
            uri,
            None,
            None,
            (None, None, None),
            read_as.lang,
            load_settings(),
            with_ocr=read_as.ocr is not OcrMode.NEVER,
            layout=read_as.layout,
            passwords=passwords,
        )
    done = _ingest_again(groups, uri, passwords, workers) if groups else []
    report = retrying.merged(done, problems)
    reports.show_retry(report, uri, as_json)
    return reports.code_of_ingest(report)


def delete_command(
    documents: options.DocumentsArgument,
    db: options.DbOption = None,
    yes: options.YesOption = False,
) -> ExitCode:
    """Remove documents from a database, with all that is stored of them; files stay.

    Example: patchlight delete reports/draft.pdf --db mydb
    """
    from storage.database import Database
    from tasks.ingest import removing

    database = Database.open(database_of(db))
    removal = removing.find(database, documents)
    reports.show_removal(removal)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nothing was removed: give --yes where nobody can be asked")
        if not typer.confirm("Remove this?", err=True):
            print("nothing was removed")
            return ExitCode.OK
    removed = removing.remove(database, removal)
    print(f"removed: {removed} documents, {len(removal.failures)} failures of files")
    return ExitCode.OK


def _ingest_again(
    groups: Mapping[ReadAs, list[str]], db: str, passwords: str | None, workers: int | None
) -> list[dict[str, Any]]:
    from flows.ingest import ingest
    from tasks.orchestration import prefectserver

    prefectserver.start()
    return [
        reports.of(
            ingest(
                uris,
                db,
                ocr_mode=read_as.ocr,
                lang=read_as.lang,
                dpi=read_as.dpi,
                layout=read_as.layout,
                passwords=passwords,
                workers=workers,
                redo=Redo.FAILED,
                return_state=True,
            )
        )
        for read_as, uris in groups.items()
    ]
