"""The command line: a thin layer over the flows. ``patchlight`` and ``python -m flows``."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from flows import STARTED
from storage.errors import ExitCode, PatchlightError
from storage.records import RegionKind
from tasks.errors import UsageError
from tasks.maxsim import TokenAggregation
from tasks.propagation import RegionAggregation
from tasks.reading import OcrMode
from tasks.settings import OutputFormat, load_settings, set_environment_defaults

logger = logging.getLogger("patchlight")

app = typer.Typer(
    name="patchlight",
    help="Batch document retrieval that answers with the place on the page.\n\n"
    "Start with 'patchlight ingest FOLDER --db mydb', then 'patchlight ask \"...\" --db mydb'. "
    "Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 1 internal error, "
    "2 wrong usage, 3 unusable input, 4 done with failures, 5 done without some pictures, "
    "6 database, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NAMES_SHOWN = 10

DbOption = Annotated[
    str | None,
    typer.Option("--db", metavar="URI", help="The database: a folder, file:// or s3:// URI."),
]
SelectOption = Annotated[
    str | None,
    typer.Option(
        show_default="the --top-regions best",
        help="Which regions of a page are returned: percentile:P (keep scores of at least the "
        "P-th percentile, e.g. p50), adaptive (mean + standard deviation), max, top-k:N, or "
        "threshold:SCORE.",
    ),
]
AggregateOption = Annotated[
    RegionAggregation, typer.Option(help="How patch scores become a region's score.")
]
TokenAggregateOption = Annotated[
    TokenAggregation, typer.Option(help="How query tokens become a patch's score.")
]
KindOption = Annotated[
    list[RegionKind] | None,
    typer.Option(
        "--kind", help="Kind of region that competes; may be repeated.", show_default="block"
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        help="Look only at pages for which this is true, over documents joined to pages, e.g. "
        "\"name LIKE '%10K%' AND page <= 20\".",
    ),
]
TopPagesOption = Annotated[int, typer.Option(min=1, help="Pages returned for a query.")]
TopRegionsOption = Annotated[int, typer.Option(min=1, help="Regions returned of a page, at most.")]
PasswordsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Passwords of encrypted PDFs, one '<name or pattern>:<password>' a line.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes at work.", show_default="one a CPU")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@app.callback()
def _options(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also log what libraries say.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    from tasks.console import set_up_logging

    level = "DEBUG" if verbose else "WARNING" if quiet else load_settings().log_level
    set_up_logging(level, libraries=verbose)
    if not verbose:
        # What goes wrong is told once, in one line, by _run; not by Prefect with a traceback.
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")


@app.command("ingest")
def ingest_command(
    source: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Files, folders (recursive) or globs."),
    ],
    db: DbOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder of a new database; text-patch needs no GPU and no download.",
            show_default="the database's, or text-patch",
        ),
    ] = None,
    ocr: Annotated[
        OcrMode, typer.Option(help="Which pages are OCRed: those without a text layer, all, none.")
    ] = OcrMode.AUTO,
    lang: Annotated[
        str, typer.Option(help="Tesseract language, e.g. eng+deu; 'patchlight doctor' lists them.")
    ] = "eng",
    dpi: Annotated[
        int, typer.Option(min=50, max=1200, help="Resolution at which PDF pages are drawn.")
    ] = 200,
    passwords: PasswordsOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> ExitCode:
    """Read documents (PDF, PNG, JPEG, TIFF, WebP) into a database.

    Documents are known by their content: what is there already is left as it is, and a run that
    was cut off goes on where it stopped. What cannot be read is listed and becomes a row in the
    table failures; everything else is done.

    Example: patchlight ingest reports/ 'scans/**/*.tif' --db mydb
    """
    from tasks.preflight import check_ingest

    with_ocr = ocr is not OcrMode.NEVER
    check_ingest(
        source, _db(db), encoder, lang, load_settings(), with_ocr=with_ocr, passwords=passwords
    )
    from flows.ingest import ingest

    report = _report(
        ingest(source, _db(db), encoder, ocr, lang, dpi, passwords, workers, return_state=True)
    )
    _show_ingest(report, as_json)
    if report["failures"]:
        nothing = not report["documents_added"] and not report["documents_unchanged"]
        return ExitCode.BAD_INPUT if nothing else ExitCode.DONE_WITH_FAILURES
    return ExitCode.OK


@app.command("query")
def query_command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Queries: .jsonl, .csv or .parquet, or '-' for JSONL on stdin. A row has a unique "
            "'query_id', a 'query', and may have 'doc' (an id, URI or file name) and 'pages' "
            "(1-based) to say where to look. Other columns are carried through.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the results.")],
    db: DbOption = None,
    top_pages: TopPagesOption = 10,
    top_regions: TopRegionsOption = 3,
    select: SelectOption = None,
    aggregate: AggregateOption = RegionAggregation.MAX,
    token_aggregate: TokenAggregateOption = TokenAggregation.MEAN,
    kind: KindOption = None,
    where: WhereOption = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw each returned page with heat map and boxes.")
    ] = False,
    passwords: PasswordsOption = None,
    workers: WorkersOption = None,
    run_id: Annotated[
        str | None, typer.Option(help="Id of the run; results under the same id are replaced.")
    ] = None,
    as_json: JsonOption = False,
) -> ExitCode:
    """Answer a batch of queries with pages, and the places on them.

    Writes results.jsonl (a line a query), results.parquet (a row a region), summary.json, and
    with --overlays a picture of each returned page. The same rows are in the table retrievals.

    Example: patchlight query questions.jsonl --db mydb --out results --overlays
    """
    from tasks.preflight import check_query

    check_query(file, _db(db), select, passwords)
    from flows.query import query

    report = _report(
        query(
            file,
            _db(db),
            out,
            top_pages,
            top_regions,
            select,
            aggregate,
            token_aggregate,
            kind,
            where,
            overlays,
            passwords,
            workers,
            run_id,
            return_state=True,
        )
    )
    _show_query(report, as_json)
    if report["bad_rows"]:
        return ExitCode.DONE_WITH_FAILURES
    return ExitCode.DONE_WITHOUT_PICTURES if report["pictures_missing"] else ExitCode.OK


@app.command("ask")
def ask_command(
    query: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to find.")],
    db: DbOption = None,
    top_pages: TopPagesOption = 3,
    top_regions: TopRegionsOption = 3,
    select: SelectOption = None,
    aggregate: AggregateOption = RegionAggregation.MAX,
    token_aggregate: TokenAggregateOption = TokenAggregation.MEAN,
    kind: KindOption = None,
    doc: Annotated[
        str | None, typer.Option(help="Look in this document only: its id, URI or file name.")
    ] = None,
    where: WhereOption = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw each returned page with heat map and boxes.")
    ] = False,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for the pictures.")
    ] = ".",
    passwords: PasswordsOption = None,
    timing: Annotated[bool, typer.Option("--timing", help="Say what took how long.")] = False,
) -> ExitCode:
    """Answer one question at once, without starting Ray or Prefect.

    Example: patchlight ask "how deep is the berth?" --db mydb --overlays
    """
    from tasks.asking import ask
    from tasks.retrieval import RetrievalOptions
    from tasks.selection import selection_of
    from tasks.sources import read_passwords
    from tasks.tables import answer_text

    imports = time.perf_counter() - STARTED
    options = RetrievalOptions(
        top_pages,
        top_regions,
        selection_of(select, top_regions),
        aggregate,
        token_aggregate,
        tuple(kind or [RegionKind.BLOCK]),
    )
    secrets = read_passwords(passwords) if passwords else {}
    pictures = out if overlays else None
    asked = ask(_db(db), query, options, doc=doc, where=where, pictures=pictures, passwords=secrets)
    print(answer_text(asked.answer, asked.session.catalog))
    for path in asked.pictures:
        print(f"picture: {path}")
    for path, problem in asked.problems.items():
        logger.warning("%s: not drawn: %s", path, problem)
    if timing:
        for step, seconds in {"imports": imports, **asked.seconds}.items():
            print(f"{seconds:7.3f} s  {step}", file=sys.stderr)
    return ExitCode.DONE_WITHOUT_PICTURES if asked.problems else ExitCode.OK


@app.command("sql")
def sql_command(
    statement: Annotated[str, typer.Argument(metavar="SELECT", help="One SQL query.")],
    db: DbOption = None,
    output: Annotated[
        OutputFormat,
        typer.Option("--format", help="How rows are printed; json: an object a line."),
    ] = OutputFormat.TABLE,
) -> ExitCode:
    """Look at the tables with SQL; nothing can be changed.

    Tables: documents, pages, regions, patches, failures, retrievals, runs, statistics, meta.
    They show what queries see, and raw_<table> shows every row. 'DESCRIBE pages' lists columns.

    Example: patchlight sql "SELECT name, page_count FROM documents" --db mydb
    """
    from storage.sql import run_sql
    from tasks import tables

    rows = run_sql(_db(db), statement)
    if output is OutputFormat.JSON:
        lines = tables.as_json_lines(rows)
    elif output is OutputFormat.CSV:
        lines = tables.as_csv(rows)
    else:
        found = rows.read_all()
        lines = [tables.as_table(found.schema.names, (list(r.values()) for r in found.to_pylist()))]
    _print_all(lines)
    return ExitCode.OK


@app.command("status")
def status_command(db: DbOption = None) -> ExitCode:
    """Show what is in a database: counts, failures, latest runs, schema version."""
    from tasks import tables
    from tasks.inspecting import status

    found = status(_db(db))
    print(tables.key_values(found.facts))
    if found.runs:
        print("\nLatest runs:")
        print(tables.as_table(list(found.runs[0]), (list(run.values()) for run in found.runs)))
    if found.failures:
        print(f"\n{len(found.failures)} failures:")
        names = ("page", "stage", "category", "retryable", "attempts", "message")
        rows = ([getattr(failure, name) for name in names] for failure in found.failures)
        print(tables.as_table(names, rows))
    return ExitCode.OK


@app.command("doctor")
def doctor_command() -> ExitCode:
    """Check what patchlight needs on this machine: Tesseract, Ray, GPU, encoders."""
    from tasks import tables
    from tasks.inspecting import doctor

    checks = doctor(load_settings())
    rows = (("ok" if check.fine else "FAILS", check.name, check.finding) for check in checks)
    print(tables.as_table(["", "what", "finding"], rows))
    return ExitCode.OK if all(check.fine for check in checks) else ExitCode.BAD_INPUT


def main() -> None:
    """Run the command line and exit with a documented code (docs/errors.md)."""
    set_environment_defaults()
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(_run(lambda: app(standalone_mode=False)))


_interrupted = False


def _interrupt(number: int, frame: object) -> None:
    """Remember that the user stopped us: what libraries make of the signal hides it."""
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _run(command: Callable[[], Any]) -> int:
    """Run a command; the one place where exceptions become messages and exit codes."""
    try:
        result = command()
        return int(result) if isinstance(result, int) else ExitCode.OK
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except TyperException as error:
        # Usage errors show the command's usage line; the base class cannot show itself.
        show = getattr(error, "show", None)
        show(file=sys.stderr) if show else print(f"error: {error}", file=sys.stderr)
        return ExitCode.USAGE
    except PatchlightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if _interrupted:
            return _stopped()
        logger.debug("internal error", exc_info=error)
        print(
            f"internal error: {type(error).__name__}: {error}\n"
            "Run it again with 'patchlight -v ...' for the details, and report them.",
            file=sys.stderr,
        )
        return ExitCode.INTERNAL


def _stopped() -> ExitCode:
    print("interrupted; what was committed stays", file=sys.stderr)
    return ExitCode.INTERRUPTED


def _print_all(lines: Iterable[str]) -> None:
    """Print lines until they end or the reader, e.g. head, has seen enough."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again at its end, and must not find the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _db(db: str | None) -> str:
    found = db or load_settings().db
    if not found:
        raise UsageError("no database named: give --db URI, or set PATCHLIGHT_DB")
    return found


def _report(state: Any) -> dict[str, Any]:
    report: dict[str, Any] = state.result()
    return report


def _show_ingest(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2))
        return
    from tasks.sources import describe_skipped
    from tasks.tables import key_values, plain

    print(
        key_values(
            {
                "documents added": report["documents_added"],
                "documents already there": report["documents_unchanged"],
                "documents failed": report["documents_failed"],
                "pages added": report["pages_added"],
                "pages already there": report["pages_unchanged"],
                "pages failed": report["pages_failed"],
                "files of other types": describe_skipped(report["skipped"]) or 0,
                "run": report["run_id"],
            }
        )
    )
    for suffix, names in report["skipped"].items():
        print(f"\nnot read, {suffix or 'no suffix'}:")
        for name in names[:_NAMES_SHOWN]:
            print(f"  {plain(name)}")
        if len(names) > _NAMES_SHOWN:
            print(f"  and {len(names) - _NAMES_SHOWN} more")
    if report["failures"]:
        print("\nfailed (also in the table failures):")
        for message in report["failures"]:
            print(f"  {plain(message)}")
    elif not report["documents_added"]:
        print("\nnothing to do: every document is in the database already")


def _show_query(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2))
        return
    from tasks.tables import key_values, plain

    tokens = report["tokens"]
    print(
        key_values(
            {
                "queries answered": report["queries"],
                "pages returned": report["pages"],
                "regions returned": report["regions"],
                "context tokens": f"{tokens['regions']} (all text of these pages "
                f"{tokens['page_text']}, their pictures {tokens['page_image']})",
                "pictures drawn": report["pictures"],
                "results": report["out"],
                "run": report["run_id"],
            }
        )
    )
    problems = [row["message"] for row in report["bad_rows"]] + report["pictures_missing"]
    if problems:
        print("\nnot done:")
        for message in problems:
            print(f"  {plain(message)}")


if __name__ == "__main__":
    main()
