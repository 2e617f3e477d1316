"""The options and arguments of the commands: names, limits and help texts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from storage.records import RegionKind, VectorType
from tasks.common.errors import Category, Stage, UsageError
from tasks.common.modes import LayoutMode, OcrMode
from tasks.common.settings import OutputFormat, load_settings
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation


def text(value: str | None) -> str | None:
    """Refuse what is not UTF-8: neither a database nor Prefect can hold it.

    Raises:
        BadParameter: it is not.
    """
    if value is not None and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise typer.BadParameter(f"{value!r} is not UTF-8") from error
    return value


# Of every command.
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also log what libraries say.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")]

# Of several commands.
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URI",
        callback=text,
        help="The database: a folder, file:// or s3:// URI.",
    ),
]
PasswordsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        callback=text,
        help="Passwords of encrypted PDFs, one '<name or pattern>:<password>' a line.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes at work.", show_default="one a CPU")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]

# Of ingest.
SourceArgument = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Files, folders (recursive) or globs."),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=text,
        help="Encoder of a new database: text-patch, which needs no GPU and no download; or a "
        "ColPali-like vision model, by its hub id (owner/name or owner/name@revision) or a folder; "
        "docs/encoders.md lists them.",
        show_default="the database's, or text-patch",
    ),
]
VisualTokensOption = Annotated[
    int | None,
    typer.Option(
        min=64,
        max=16384,
        help="Most patches a page is cut into, for the models that leave a choice.",
        show_default="the database's, or 768",
    ),
]
VectorsOption = Annotated[
    VectorType | None,
    typer.Option(
        help="How a number of a vector is stored; int8 takes half the space.",
        show_default="the database's, or float16",
    ),
]
PoolOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Token pooling: patches that share a stored vector; every cell keeps its place.",
        show_default="the database's, or 1",
    ),
]
DropBlankOption = Annotated[
    bool | None,
    typer.Option(
        "--drop-blank/--keep-blank",
        help="Whether cells without ink are stored without a vector.",
        show_default="the database's, or kept",
    ),
]
GpusOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="GPUs for an encoder that wants one; 0 for the CPU.",
        show_default="all of Ray's cluster",
    ),
]
OcrOption = Annotated[
    OcrMode, typer.Option(help="Which pages are OCRed: those without a text layer, all, none.")
]
LangOption = Annotated[
    str, typer.Option(help="Tesseract language, e.g. eng+deu; 'patchlight doctor' lists them.")
]
LayoutOption = Annotated[
    LayoutMode | None,
    typer.Option(
        help="Whether the layout model looks at pages, for figures, tables, headings, captions.",
        show_default="PATCHLIGHT_LAYOUT, or auto",
    ),
]
DpiOption = Annotated[
    int, typer.Option(min=50, max=1200, help="Resolution at which PDF pages are drawn.")
]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Do every page of the documents named again.")
]
SyncOption = Annotated[
    bool,
    typer.Option(
        "--sync", help="Remove documents from the database whose files are gone from the folders."
    ),
]

# Of query and ask.
LoadFromOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        callback=text,
        help="Where to take the database's encoder from, if not from where it was at ingest: a "
        "folder or a hub id with the same weights.",
    ),
]
FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        callback=text,
        help="Queries: .jsonl, .csv or .parquet, or '-' for JSONL on stdin. A row has a unique "
        "'query_id', a 'query', and may have 'doc' (an id, URI or file name) and 'pages' "
        "(1-based) to say where to look. Other columns are carried through.",
    ),
]
QuestionArgument = Annotated[
    str, typer.Argument(metavar="QUESTION", callback=text, help="What you want to find.")
]
ResultsOption = Annotated[
    str, typer.Option("--out", metavar="DIR", callback=text, help="Folder for the results.")
]
PicturesOption = Annotated[
    str, typer.Option("--out", metavar="DIR", callback=text, help="Folder for the pictures.")
]
TopPagesOption = Annotated[int, typer.Option(min=1, help="Pages returned for a query.")]
TopRegionsOption = Annotated[int, typer.Option(min=1, help="Regions returned of a page, at most.")]
SelectOption = Annotated[
    str | None,
    typer.Option(
        show_default="spans",
        help="Which places of a page are returned: spans (those that answer, at the scale that "
        "fits; spans:0.2 returns more than the usual spans:0.5; with --kind line or cell single "
        "values), or of the blocks, or regions of --kind, percentile:P (keep scores of at least "
        "the P-th percentile, e.g. p50), adaptive (mean + standard deviation), max, top-k:N, or "
        "threshold:SCORE.",
    ),
]
AggregateOption = Annotated[
    RegionAggregation, typer.Option(help="How patch scores become a region's score.")
]
TokenAggregateOption = Annotated[
    TokenAggregation, typer.Option(help="How query tokens become a patch's score.")
]
PageTokensOption = Annotated[
    QueryTokens,
    typer.Option(
        help="Query tokens that rank pages: all, or those that carry meaning (no prompt, no "
        "padding)."
    ),
]
RegionTokensOption = Annotated[
    QueryTokens, typer.Option(help="Query tokens that score regions: all, or those with meaning.")
]
SpanSignalsOption = Annotated[
    SpanSignals,
    typer.Option(
        help="What spans are chosen by: all (the question's words, patch scores and place), "
        "visual (without the words), words (without the patch scores), or layout (place alone)."
    ),
]
KindOption = Annotated[
    list[RegionKind] | None,
    typer.Option(
        "--kind",
        help="Kind of region that is returned; may be repeated. line and cell look for a single "
        "value, such as an amount or a name.",
        show_default="all of spans",
    ),
]
DocOption = Annotated[
    str | None, typer.Option(help="Look in this document only: its id, URI or file name.")
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        callback=text,
        help="Look only at pages for which this is true, over documents joined to pages, e.g. "
        "\"name LIKE '%10K%' AND page <= 20\".",
    ),
]
OverlaysOption = Annotated[
    bool, typer.Option("--overlays", help="Draw each returned page with heat map and boxes.")
]
RunIdOption = Annotated[
    str | None,
    typer.Option(callback=text, help="Id of the run; results under the same id are replaced."),
]
TimingOption = Annotated[bool, typer.Option("--timing", help="Say what took how long.")]

# Of sql.
StatementArgument = Annotated[
    str, typer.Argument(metavar="SELECT", callback=text, help="One SQL query.")
]
FormatOption = Annotated[
    OutputFormat, typer.Option("--format", help="How rows are printed; json: an object a line.")
]

# Of failures and retry.
CategoryOption = Annotated[
    list[Category] | None,
    typer.Option("--category", help="Failures of this category only; may be repeated."),
]
StageOption = Annotated[
    list[Stage] | None,
    typer.Option("--stage", help="Failures at this stage only; may be repeated."),
]
RetryableOption = Annotated[
    bool | None,
    typer.Option(
        "--retryable/--final",
        help="Only failures that may go well when tried again as they are, or only the others.",
        show_default="both",
    ),
]
OfDocumentOption = Annotated[
    str | None,
    typer.Option(
        "--doc",
        metavar="DOC",
        help="Failures of this document only: its id, or 8 digits of it or more, its URI, path, "
        "or name.",
    ),
]

# Of delete.
DocumentsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="DOC...",
        help="Documents: an id, or 8 digits of it or more, a URI, a path, or a name as given at "
        "ingest.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

# Of digest.
WithVectorsOption = Annotated[
    bool, typer.Option("--vectors", help="Look at patch vectors too, which takes longer.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI", callback=text, help="Another database: say what is different in it."
    ),
]
ToleranceOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="With --against and --vectors: how far numbers of vectors may be apart.",
    ),
]


def database_of(db: str | None) -> str:
    """Return the database that a command is to use.

    Args:
        db: what was given with ``--db``.

    Raises:
        UsageError: neither that nor the settings name one.
    """
    found = db or load_settings().db
    if not found:
        raise UsageError("no database named: give --db URI, or set PATCHLIGHT_DB")
    return found


def restart_in_unicode(replaced: Mapping[str, str]) -> None:
    """Start this process anew, if its command line holds something that Ray could not pass on.

    Ray tells its cluster the command line of the process that starts it, as UTF-8.

    Args:
        replaced: argument -> what means the same and is UTF-8.
    """
    line = list(sys.orig_argv)
    for odd, even in replaced.items():
        if odd != even:
            line = [
                arg.removesuffix(odd) + even if arg == odd or arg.endswith(f"={odd}") else arg
                for arg in line
            ]
    if line != sys.orig_argv:
        os.execv(sys.executable, [sys.executable, *line[1:]])
