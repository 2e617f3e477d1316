"""The options and arguments of the commands; those of a request come from its model."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from annotated_types import Ge, Le

from patchlight.storage.errors import ExitCode
from patchlight.tasks.common.errors import Category, Stage
from patchlight.tasks.documents.sources import portable
from patchlight.tasks.requests.fields import (
    Request,
    a_database,
    a_document,
    made,
    option_name,
    required_first,
    shown,
    takes_several,
)
from patchlight.tasks.requests.ingest import IngestRequest, RetryRequest

_Asked = TypeVar("_Asked", bound=Request)


class OutputFormat(StrEnum):
    """How ``patchlight failures`` prints rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def text(value: str | list[str] | None) -> str | list[str] | None:
    """Refuse what is not UTF-8: neither a database nor Prefect can hold it.

    Raises:
        BadParameter: it is not.
    """
    for one in [value] if isinstance(value, str) else value or ():
        try:
            one.encode()
        except UnicodeEncodeError as error:
            raise typer.BadParameter(f"{one!r} is not UTF-8") from error
    return value


def naming(
    check: Callable[[str | None], str | None], *, any_bytes: bool = False
) -> Callable[[str | None], str | None]:
    """Return the callback of an option that is of no request, and so is checked by itself.

    Args:
        check: raises ValueError where the value is wrong.
        any_bytes: whether the value need not be UTF-8.
    """

    def callback(value: str | None) -> str | None:
        if not any_bytes:
            text(value)
        try:
            return check(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return callback


def option(model: type[Request], name: str, checked: Callable[[Any], Any] | None = None) -> Any:
    """Return the option or argument of the command line for a field of a request.

    Args:
        model: the request.
        name: of the field.
        checked: callback where no request is made, which checks its values itself.
    """
    field = model.model_fields[name]
    how = shown(field)
    is_text = field.annotation in (str, str | None, list[str], list[str] | None)
    callback = checked or (text if is_text and not how.any_bytes else None)
    if how.argument:
        return typer.Argument(metavar=how.metavar, help=field.description, callback=callback)
    flag = option_name(name)
    least: Any = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    most: Any = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    return typer.Option(
        f"{flag}/{how.negative}" if how.negative else flag,
        metavar=how.metavar,
        help=field.description,
        min=least,
        max=most,
        show_default=how.usual or True,
        callback=callback,
    )


def of(
    model: type[_Asked], *, in_unicode: bool = False
) -> Callable[[Callable[..., ExitCode]], Callable[..., ExitCode]]:
    """Give a command the options of a request, before those that it has itself.

    The command is called with the request, and with its own options by name.

    Args:
        model: the request.
        in_unicode: whether the process is started anew where a file name is not UTF-8, for Ray.
    """

    def with_options(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
        @functools.wraps(command)
        def called(**values: Any) -> ExitCode:
            asked = {name: values.pop(name) for name in model.model_fields}
            if in_unicode:
                restart_in_unicode(_portable_names(model, asked))
            return command(made(model, asked, functools.partial(_typed, model)), **values)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        signature = inspect.Signature([*_parameters(model), *own])
        setattr(called, "__signature__", signature)  # noqa: B010 - functions are not typed with it
        called.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return called

    return with_options


def _typed(model: type[Request], name: str) -> str:
    """Return what a field is called on the command line: by its option, or in the usage line."""
    how = shown(model.model_fields[name])
    return how.metavar if how.argument and how.metavar else option_name(name)


def _parameters(model: type[Request]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if field.is_required() else field.default,
            annotation=Annotated[field.annotation, option(model, name)],
        )
        for name, field in required_first(model).items()
    ]


def _portable_names(model: type[Request], asked: Mapping[str, Any]) -> dict[str, str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        if shown(field).any_bytes and asked[name]:
            names += asked[name] if takes_several(field) else [asked[name]]
    return {name: portable(name) for name in names}


# Of every command.
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also log details, what libraries say, and the traceback of an internal error.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")]

# Of several commands.
DbOption = Annotated[str | None, option(IngestRequest, "db", naming(a_database))]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
TimingOption = Annotated[bool, typer.Option("--timing", help="Say what took how long.")]

# Of failures; the second and third are those of retry.
FormatOption = Annotated[
    OutputFormat,
    typer.Option("--format", help="How rows are printed; json: an array, jsonl: an object a line."),
]
CategoryOption = Annotated[list[Category] | None, option(RetryRequest, "category")]
OfDocumentOption = Annotated[
    str | None, option(RetryRequest, "doc", naming(a_document, any_bytes=True))
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
        metavar="URI",
        callback=naming(a_database),
        help="Another database: say what is different in it.",
    ),
]
ToleranceOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="With --against and --vectors: how far numbers of vectors may be apart.",
    ),
]


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
