"""What the commands print of what was done, and their exit codes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from patchlight.flows.printing import has_reader
from patchlight.storage.errors import ExitCode
from patchlight.tasks.common.safetext import escaped, plain
from patchlight.tasks.documents.lookup import name_of

if TYPE_CHECKING:
    from patchlight.tasks.admin.carrying import MigrationReport
    from patchlight.tasks.admin.failures import CategoryCount
    from patchlight.tasks.ingest.removing import Removal

_NAMES_SHOWN = 10


def of(state: Any) -> dict[str, Any]:
    """Return the report of a flow, or raise what ended it."""
    report: dict[str, Any] = state.result()
    return report


def code_of_ingest(report: Mapping[str, Any]) -> ExitCode:
    """Return the exit code of an ingest."""
    if not report["failures"]:
        return ExitCode.OK
    done = ("documents_added", "documents_unchanged", "documents_removed")
    return ExitCode.DONE_WITH_FAILURES if any(map(report.get, done)) else ExitCode.BAD_INPUT


def show_ingest(report: Mapping[str, Any], db: str, as_json: bool) -> None:
    """Print how an ingest went, and what can be done about what did not."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    _show_counts(report)
    for suffix, names in report["skipped"].items():
        show_list(f"not read, {suffix or 'no suffix'}:", names, _NAMES_SHOWN)
    _show_left(report, db)
    done = ("documents_added", "documents_removed", "failures", "documents_elsewhere")
    if not any(map(report.get, done)) and not report["metadata"].get("changed"):
        print("\nnothing to do: every document is in the database already")


def show_retry(report: Mapping[str, Any], db: str, as_json: bool) -> None:
    """Print how it went to try again what failed."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    if "run_id" in report:
        _show_counts(report)
    elif not report["failures"]:
        print("nothing to try again")
    _show_left(report, db)


def show_removal(removal: Removal) -> None:
    """Print what is to be removed."""
    from patchlight.tasks.common import terminal

    if removal.documents:
        rows = [
            (d.doc_id[:12], name_of(d), d.status.value, d.pages_stored, d.pages_failed)
            for d in removal.documents
        ]
        columns = ("document", "name", "status", "pages stored", "pages failed")
        print(terminal.as_table(columns, rows))
    for document in removal.documents:
        names = [source.name for source in document.sources[1:]]
        show_list(f"{document.doc_id[:12]} was also found at:", names, _NAMES_SHOWN)
    messages = [failure.message for failure in removal.failures]
    show_list("failures of files as a whole:", messages)


def left_on_disk(replaced: timedelta, read: timedelta) -> str:
    """Say what stays of removed documents for a while.

    Args:
        replaced: how long what was replaced stays.
        read: how long what a query run has read stays after it.
    """
    hours = read.total_seconds() / 3600
    kept = f", what query runs have read of them {hours:.0f} hours after these" if hours else ""
    return (
        "their bytes leave the disk with the first run or deletion in "
        f"{replaced.total_seconds() / 60:.0f} minutes or more{kept}"
    )


def show_migration(report: MigrationReport, as_json: bool) -> None:
    """Print what a migration did, what it left out, and where the old database is."""
    if as_json:
        print(json.dumps(asdict(report), indent=2))
        return
    from patchlight.tasks.common.terminal import key_values

    db = plain(report.db)
    print(f"{'migrated' if report.done else 'nothing to do'}: {db} has the present schema")
    if report.went_on:
        print("an earlier migration had been cut off; this one did what was left")
    if report.carried:
        print(key_values({**report.carried, "seconds": report.seconds}))
    left_out = [f"{what}: {count}" for what, count in report.left_out.items()]
    show_list("left out:", left_out)
    show_list(
        "not whole, and in no answer; 'patchlight ingest' of these goes on with them:",
        report.unfinished,
        _NAMES_SHOWN,
    )
    if report.old:
        print(f"\nThe old database is at {plain(report.old)}. When the new one is as it should be,")
        print(f"remove it: {plain(removal_of(report.old))}")


def removal_of(uri: str) -> str:
    """Return what removes a database."""
    return f"the folder of {uri}" if "://" in uri else f"rm -r {shlex.quote(uri)}"


def show_query(report: Mapping[str, Any], as_json: bool) -> None:
    """Print how a batch of queries went."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    from patchlight.tasks.common.terminal import key_values

    tokens = report["tokens"]
    facts = {
        "queries answered": report["queries"],
        "pages returned": report["pages"],
        "regions returned": report["regions"],
        "context tokens": f"{tokens['regions']} (all text of these pages "
        f"{tokens['page_text']}, their pictures {tokens['page_image']})",
        "pictures drawn": report["pictures"],
        "results": report["out"],
        "run": report["run_id"],
    }
    print(key_values(facts))
    problems = [row["message"] for row in report["bad_rows"]] + report["pictures_missing"]
    show_list("not done:", problems)


def show_evaluation(report: Mapping[str, Any], as_json: bool) -> None:
    """Print what an evaluation found: the main measure of each system, and where the rest is."""
    if as_json:
        print(json.dumps(report, indent=2))
        return
    from patchlight.tasks.common.terminal import as_table, key_values
    from patchlight.tasks.evaluation.report import headline

    for title, columns, rows in headline(report):
        print(f"{plain(title)}\n{as_table(columns, rows)}\n")
    counts = report["counts"]
    facts = {
        "questions": counts["questions"],
        "rows": counts["rows"],
        "left out": counts["questions_left_out"],
        "rows not ingested": counts["rows_not_ingested"],
        "report": f"{report['out']}/report.md",
        "run": report["run_id"],
    }
    print(key_values(facts))
    problems = report["problems"]
    show_list("not done:", problems["not_asked"] + problems["not_drawn"], _NAMES_SHOWN)


def print_all(lines: Iterable[str]) -> None:
    """Print lines until they end or the reader, e.g. head, has seen enough."""
    for line in lines:
        print(line)
        if not has_reader():
            return


def say_beside(text: str) -> None:
    """Print a line to stderr, beside results on stdout."""
    print(escaped(text), file=sys.stderr)


def counted(counts: Iterable[CategoryCount]) -> list[dict[str, Any]]:
    """Return counts of failures as rows to print."""
    return [
        {"category": c.category, "failures": c.failures, "of these retryable": c.retryable}
        for c in counts
    ]


def show_list(title: str, texts: Sequence[str], most: int | None = None) -> None:
    """Print texts under a title, if there are any."""
    if texts:
        print(f"\n{plain(title)}")
    for text in texts[:most]:
        print(f"  {plain(text)}")
    if most and len(texts) > most:
        print(f"  and {len(texts) - most} more")


def _show_counts(report: Mapping[str, Any]) -> None:
    from patchlight.tasks.common.terminal import key_values
    from patchlight.tasks.documents.sources import describe_skipped

    facts = {
        "documents added": report["documents_added"],
        "documents already there": report["documents_unchanged"],
        "documents failed": report["documents_failed"],
        "documents removed": report["documents_removed"],
        "pages added": report["pages_added"],
        "pages already there": report["pages_unchanged"],
        "pages failed": report["pages_failed"],
        "files of other types": describe_skipped(report["skipped"]) or 0,
    }
    if known := report.get("metadata"):
        facts["rows of metadata"] = (
            f"{known['rows']}, of {known['documents']} documents, {known['changed']} of them new "
            "or changed"
        )
    print(key_values({**facts, "run": report["run_id"]}))


def _show_metadata(report: Mapping[str, Any]) -> None:
    """Print what of a metadata file is not stored as it stands there."""
    known = report.get("metadata") or {}
    names = {stored: f", in the file {name!r}" for name, stored in known.get("renamed", {}).items()}
    columns = known.get("columns", {}).items()
    show_list(
        "columns of metadata, as SQL knows them:",
        [f"{name}: {kind}{names.get(name, '')}" for name, kind in columns],
    )
    show_list("columns without a value, which were not stored:", known.get("empty", ()))
    show_list(
        f"columns that would say which document a row is of, and were not read beside "
        f"{known.get('key')!r}:",
        known.get("left_out", ()),
    )
    show_list(
        f"rows of metadata of no document, {known.get('unmatched')} in all:",
        known.get("unmatched_first", ())[:_NAMES_SHOWN],
    )
    if count := report.get("documents_without_metadata"):
        print(f"\ndocuments without metadata: {count}; their columns are null")


def _show_left(report: Mapping[str, Any], db: str) -> None:
    """Print what an ingest left as it is, and what can be done about it."""
    _show_metadata(report)
    show_list(
        "in work by another run, and left to it; if that is cut off, ingest again:",
        report.get("documents_elsewhere", ()),
    )
    show_list(
        "gone from their folder, still in the database; 'patchlight ingest --sync' or 'patchlight "
        "delete' removes them:",
        report.get("gone", ()),
    )
    show_list(f"failed; see 'patchlight failures --db {db}':", report["failures"])
    unknown = [
        f"{found['category']} at {found['stage']}, {found['count']}x: "
        + " < ".join(line.strip() for line in reversed(found["traceback"].splitlines()))
        for found in report.get("tracebacks", ())
    ]
    show_list("for reasons that are not known; please report these, no text is in them:", unknown)
