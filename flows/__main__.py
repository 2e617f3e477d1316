"""The command line: a thin layer over the flows. ``patchlight`` and ``python -m patchlight``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import typer
from typer.exceptions import TyperException

from patchlight.flows import STARTED, evaluating, looking, mending, options, reports
from patchlight.flows.printing import open_output
from patchlight.storage.errors import ExitCode, PatchlightError
from patchlight.tasks.common.safetext import escaped
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.requests.ingest import IngestRequest
from patchlight.tasks.requests.query import AskRequest, QueryRequest

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


@app.callback()
def _options(verbose: options.VerboseOption = False, quiet: options.QuietOption = False) -> None:
    from patchlight.tasks.common.console import set_up_logging

    level = "DEBUG" if verbose else "WARNING" if quiet else load_settings().log_level
    set_up_logging(level, libraries=verbose)
    if not verbose:
        # What goes wrong is told once, in one line, by _run; not by Prefect with a traceback.
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")


@app.command("ingest")
@options.of(IngestRequest, in_unicode=True)
def ingest_command(request: IngestRequest, as_json: options.JsonOption = False) -> ExitCode:
    """Read documents (PDF, PNG, JPEG, TIFF, WebP) into a database.

    Documents are known by their content: what is there already is left as it is, and a run that
    was cut off goes on where it stopped. What cannot be read is listed and becomes a row in the
    table failures; everything else is done.

    Example: patchlight ingest reports/ 'scans/**/*.tif' --db mydb
    """
    from patchlight.tasks.admin.preflight import check_ingest

    check_ingest(request, load_settings())
    from patchlight.flows.ingest import ingest
    from patchlight.tasks.orchestration import prefectserver

    prefectserver.start()

    report = reports.of(ingest(**dict(request), return_state=True))
    reports.show_ingest(report, request.db, as_json)
    return reports.code_of_ingest(report)


@app.command("query")
@options.of(QueryRequest)
def query_command(request: QueryRequest, as_json: options.JsonOption = False) -> ExitCode:
    """Answer a batch of queries with pages, and the places on them.

    Writes results.jsonl (a line a query), results.parquet (a row a region), summary.json, and
    with --overlays a picture of each returned page. The same rows are in the table retrievals.

    Example: patchlight query questions.jsonl --db mydb --out results --overlays
    """
    from patchlight.tasks.admin.preflight import check_query

    check_query(request)
    from patchlight.flows.query import query
    from patchlight.tasks.orchestration import prefectserver

    prefectserver.start()

    report = reports.of(query(**dict(request), return_state=True))
    reports.show_query(report, as_json)
    if report["bad_rows"]:
        return ExitCode.DONE_WITH_FAILURES
    return ExitCode.DONE_WITHOUT_PICTURES if report["pictures_missing"] else ExitCode.OK


@app.command("ask")
@options.of(AskRequest)
def ask_command(request: AskRequest, timing: options.TimingOption = False) -> ExitCode:
    """Answer one question at once, without starting Ray or Prefect.

    Example: patchlight ask "how deep is the berth?" --db mydb --overlays
    """
    from patchlight.tasks.answers.asking import ask
    from patchlight.tasks.answers.wording import answer_text
    from patchlight.tasks.documents.passwords import read_passwords

    imports = time.perf_counter() - STARTED
    asked = ask(
        request.db,
        request.query,
        request.options(),
        encoder=request.encoder,
        doc=request.doc,
        where=request.where,
        pictures=request.out if request.overlays else None,
        passwords=read_passwords(request.passwords) if request.passwords else {},
    )
    print(answer_text(asked.answer, asked.session.catalog))
    for path in asked.pictures:
        print(f"picture: {escaped(path)}")
    for path, problem in asked.problems.items():
        logger.warning("%s: not drawn: %s", path, problem)
    if timing:
        for step, seconds in {"imports": imports, **asked.seconds}.items():
            print(f"{seconds:7.3f} s  {step}", file=sys.stderr)
    return ExitCode.DONE_WITHOUT_PICTURES if asked.problems else ExitCode.OK


app.command("evaluate")(evaluating.evaluate_command)
app.command("sql")(looking.sql_command)
app.command("status")(looking.status_command)
app.command("failures")(looking.failures_command)
app.command("retry")(mending.retry_command)
app.command("delete")(mending.delete_command)
app.command("migrate")(mending.migrate_command)
app.command("digest")(looking.digest_command)
app.command("doctor")(looking.doctor_command)


def main() -> None:
    """Run the command line and exit with a documented code (docs/errors.md)."""
    signal.signal(signal.SIGINT, _interrupt)
    open_output()
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
        sys.stdout.flush()  # what cannot be written is to be known before the end
        code = int(result) if isinstance(result, int) else ExitCode.OK
        return _stopped() if code == ExitCode.INTERRUPTED else code
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except TyperException as error:
        error.message = escaped(error.message)  # it quotes arguments, e.g. odd file names
        # Usage errors show the command's usage line; the base class cannot show itself.
        show = getattr(error, "show", None)
        show(file=sys.stderr) if show else _say(f"error: {error.message}")
        return ExitCode.USAGE
    except PatchlightError as error:
        _say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if _interrupted:
            return _stopped()
        logger.debug("internal error", exc_info=error)
        _say(
            f"internal error: {type(error).__name__}: {error}",
            "Run it again with 'patchlight -v ...' for the details, and report them.",
        )
        return ExitCode.INTERNAL


def _stopped() -> ExitCode:
    _say("interrupted; what was committed stays")
    return ExitCode.INTERRUPTED


def _say(*lines: str) -> None:
    """Print to stderr, whatever names and texts are in the lines."""
    for line in lines:
        print(escaped(line), file=sys.stderr)


if __name__ == "__main__":
    main()
