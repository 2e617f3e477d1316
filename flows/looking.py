"""Commands that look at a database, or at this machine, and change nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from patchlight.flows import options, reports
from patchlight.storage.errors import ExitCode
from patchlight.tasks.common.safetext import plain
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.requests.fields import database_of
from patchlight.tasks.requests.sql import SqlRequest


@options.of(SqlRequest)
def sql_command(request: SqlRequest) -> ExitCode:
    """Look at the tables with SQL; nothing can be changed.

    Tables: documents, pages, regions, patches, failures, retrievals, runs, statistics, sequences,
    meta. They show what queries see, and raw_<table> shows every row. 'DESCRIBE pages' lists
    columns. FROM grounded('question', 5) has what 'patchlight ask' finds, here on 5 pages.

    Example: patchlight sql "SELECT name, page_count FROM documents" --db mydb

    Example: patchlight sql "SELECT name, page, text FROM grounded('harbour dues', 5)" --db mydb
    """
    from patchlight.tasks.admin.sqlanswers import answers

    reports.print_all(answers(request, load_settings().sql_memory_mb, reports.say_beside))
    return ExitCode.OK


def status_command(db: options.DbOption = None) -> ExitCode:
    """Show what is in a database, who is at work on it, and how many failures there are."""
    from patchlight.tasks.admin.status import status
    from patchlight.tasks.common import terminal

    found = status(database_of(db))
    print(terminal.key_values(found.facts))
    _show_rows("Runs at work:", found.live)
    _show_rows("Documents that queries do not see yet:", found.unfinished)
    _show_rows(
        f"Failures ('patchlight failures --db {database_of(db)}' lists them):",
        reports.counted(found.failures),
    )
    _show_rows("Latest runs:", found.runs)
    return ExitCode.OK


def failures_command(
    db: options.DbOption = None,
    category: options.CategoryOption = None,
    stage: options.StageOption = None,
    retryable: options.RetryableOption = None,
    doc: options.OfDocumentOption = None,
    output: options.FormatOption = options.OutputFormat.TABLE,
) -> ExitCode:
    """List the documents and pages that could not be done, and what to do about them.

    Example: patchlight failures --db mydb --category encrypted --category corrupt
    """
    from patchlight.storage.database import Database
    from patchlight.tasks.admin.failures import (
        FailureFilter,
        by_category,
        choose,
        failure_listing,
        next_steps,
    )
    from patchlight.tasks.common import rowtexts, terminal
    from patchlight.tasks.common.rowvalues import rows_of

    choice = FailureFilter(tuple(category or ()), tuple(stage or ()), retryable, doc)
    database = Database.open(database_of(db))
    found = choose(database, choice)
    rows = failure_listing(found)
    if output is options.OutputFormat.JSON:
        reports.print_all(rowtexts.as_json_array(rows.to_reader(), reports.say_beside))
    elif output is options.OutputFormat.JSONL:
        reports.print_all(rowtexts.as_json_lines(rows.to_reader(), reports.say_beside))
    elif output is options.OutputFormat.CSV:
        reports.print_all(rowtexts.as_csv(rows.to_reader(), reports.say_beside))
    elif not found:
        print("no failures" if choice == FailureFilter() else "no such failures")
    else:
        shown = rows.drop_columns(["uri", "doc_id"])
        reports.print_all([terminal.as_table(shown.schema.names, rows_of(shown.to_reader()))])
        counts = by_category(named.failure for named in found)
        _show_rows("By category:", reports.counted(counts))
        reports.show_list("What to do:", next_steps(counts, database_of(db)))
    return ExitCode.OK


def digest_command(
    db: options.DbOption = None,
    vectors: options.WithVectorsOption = False,
    against: options.AgainstOption = None,
    tolerance: options.ToleranceOption = 0.0,
) -> ExitCode:
    """Print a digest of what each table holds, or what is different in another database.

    Two databases made of the same files by the same options have the same digests, however they
    came about: to check a copy, a migration, or a run that was resumed.

    Example: patchlight digest --db mydb --against copy-of-mydb
    """
    from patchlight.storage import digest
    from patchlight.tasks.common import terminal

    if against is None:
        print(terminal.key_values(digest.digest(database_of(db), vectors)))
        return ExitCode.OK
    # Without --vectors only their number counts.
    allowed = tolerance if vectors else math.inf
    found = digest.differences(database_of(db), against, allowed)
    for difference in found or ["no differences"]:
        print(plain(difference))
    return ExitCode.DONE_WITH_FAILURES if found else ExitCode.OK


def doctor_command() -> ExitCode:
    """Check what patchlight needs on this machine: Tesseract, Ray, GPU, encoders."""
    from patchlight.tasks.admin.doctor import doctor
    from patchlight.tasks.common import terminal

    checks = doctor(load_settings())
    rows = (("ok" if check.fine else "FAILS", check.name, check.finding) for check in checks)
    print(terminal.as_table(["", "what", "finding"], rows))
    return ExitCode.OK if all(check.fine for check in checks) else ExitCode.BAD_INPUT


def _show_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under a title, if there are any."""
    from patchlight.tasks.common import terminal

    if rows:
        print(f"\n{plain(title)}")
        print(terminal.as_table(list(rows[0]), (list(row.values()) for row in rows)))
