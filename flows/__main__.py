"""The command line: a thin layer over the flows. ``patchlight`` and ``python -m flows``."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.exceptions import TyperException

from flows import STARTED, options
from storage.errors import ExitCode, PatchlightError
from storage.records import RegionKind
from tasks.errors import UsageError
from tasks.maxsim import QueryTokens, TokenAggregation
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


@app.callback()
def _options(verbose: options.VerboseOption = False, quiet: options.QuietOption = False) -> None:
    from tasks.console import set_up_logging

    level = "DEBUG" if verbose else "WARNING" if quiet else load_settings().log_level
    set_up_logging(level, libraries=verbose)
    if not verbose:
        # What goes wrong is told once, in one line, by _run; not by Prefect with a traceback.
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")


@app.command("ingest")
def ingest_command(
    source: options.SourceArgument,
    db: options.DbOption = None,
    encoder: options.EncoderOption = None,
    visual_tokens: options.VisualTokensOption = None,
    vectors: options.VectorsOption = None,
    pool: options.PoolOption = None,
    drop_blank: options.DropBlankOption = None,
    ocr: options.OcrOption = OcrMode.AUTO,
    lang: options.LangOption = "eng",
    dpi: options.DpiOption = 200,
    passwords: options.PasswordsOption = None,
    workers: options.WorkersOption = None,
    gpus: options.GpusOption = None,
    as_json: options.JsonOption = False,
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
        source,
        _db(db),
        encoder,
        visual_tokens,
        (vectors, pool, drop_blank),
        lang,
        load_settings(),
        with_ocr=with_ocr,
        passwords=passwords,
    )
    from flows.ingest import ingest

    report = _report(
        ingest(
            source,
            _db(db),
            encoder,
            visual_tokens,
            vectors,
            pool,
            drop_blank,
            ocr,
            lang,
            dpi,
            passwords,
            workers,
            gpus,
            return_state=True,
        )
    )
    _show_ingest(report, as_json)
    if report["failures"]:
        nothing = not report["documents_added"] and not report["documents_unchanged"]
        return ExitCode.BAD_INPUT if nothing else ExitCode.DONE_WITH_FAILURES
    return ExitCode.OK


@app.command("query")
def query_command(
    file: options.FileArgument,
    out: options.ResultsOption,
    db: options.DbOption = None,
    encoder: options.LoadFromOption = None,
    top_pages: options.TopPagesOption = 10,
    top_regions: options.TopRegionsOption = 3,
    select: options.SelectOption = None,
    aggregate: options.AggregateOption = RegionAggregation.MAX,
    token_aggregate: options.TokenAggregateOption = TokenAggregation.MEAN,
    page_tokens: options.PageTokensOption = QueryTokens.ALL,
    region_tokens: options.RegionTokensOption = QueryTokens.MEANING,
    kind: options.KindOption = None,
    where: options.WhereOption = None,
    overlays: options.OverlaysOption = False,
    passwords: options.PasswordsOption = None,
    workers: options.WorkersOption = None,
    run_id: options.RunIdOption = None,
    as_json: options.JsonOption = False,
) -> ExitCode:
    """Answer a batch of queries with pages, and the places on them.

    Writes results.jsonl (a line a query), results.parquet (a row a region), summary.json, and
    with --overlays a picture of each returned page. The same rows are in the table retrievals.

    Example: patchlight query questions.jsonl --db mydb --out results --overlays
    """
    from tasks.preflight import check_query

    check_query(file, _db(db), select, passwords, encoder)
    from flows.query import query

    report = _report(
        query(
            file,
            _db(db),
            out,
            encoder,
            top_pages,
            top_regions,
            select,
            aggregate,
            token_aggregate,
            page_tokens,
            region_tokens,
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
    query: options.QuestionArgument,
    db: options.DbOption = None,
    encoder: options.LoadFromOption = None,
    top_pages: options.TopPagesOption = 3,
    top_regions: options.TopRegionsOption = 3,
    select: options.SelectOption = None,
    aggregate: options.AggregateOption = RegionAggregation.MAX,
    token_aggregate: options.TokenAggregateOption = TokenAggregation.MEAN,
    page_tokens: options.PageTokensOption = QueryTokens.ALL,
    region_tokens: options.RegionTokensOption = QueryTokens.MEANING,
    kind: options.KindOption = None,
    doc: options.DocOption = None,
    where: options.WhereOption = None,
    overlays: options.OverlaysOption = False,
    out: options.PicturesOption = ".",
    passwords: options.PasswordsOption = None,
    timing: options.TimingOption = False,
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
    retrieval = RetrievalOptions(
        top_pages=top_pages,
        top_regions=top_regions,
        selection=selection_of(select, top_regions),
        region_aggregate=aggregate,
        token_aggregate=token_aggregate,
        kinds=tuple(kind or [RegionKind.BLOCK]),
        page_tokens=page_tokens,
        region_tokens=region_tokens,
    )
    secrets = read_passwords(passwords) if passwords else {}
    pictures = out if overlays else None
    asked = ask(
        _db(db),
        query,
        retrieval,
        encoder=encoder,
        doc=doc,
        where=where,
        pictures=pictures,
        passwords=secrets,
    )
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
    statement: options.StatementArgument,
    db: options.DbOption = None,
    output: options.FormatOption = OutputFormat.TABLE,
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
def status_command(db: options.DbOption = None) -> ExitCode:
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
