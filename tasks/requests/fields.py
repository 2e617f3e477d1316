"""What the fields of all requests share: how they are shown, checked, and named when wrong."""

from __future__ import annotations

import argparse
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.safetext import composed
from patchlight.tasks.common.settings import load_settings, message_of
from patchlight.tasks.documents.sources import FILE_SCHEME, portable, to_path

_Model = TypeVar("_Model", bound="Request")
_Given = TypeVar("_Given", str, list[str], str | None)

_LONGEST_RUN_ID = 200
_NOT_IN_RUN_IDS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, halves of characters, and ends of lines."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a field is shown to people, beside its name, type, range, default and description.

    Attributes:
        metavar: what stands for its value in a usage line.
        usual: what counts where the default is None.
        argument: whether the command line takes it by its place, without a name.
        negative: name that says no on the command line, for a yes or no that may be left out.
        any_bytes: whether it may hold a file name, which need not be UTF-8.
    """

    metavar: str | None = None
    usual: str | None = None
    argument: bool = False
    negative: str | None = None
    any_bytes: bool = False


class Request(BaseModel):
    """What a flow is asked to do. Every field is an option; its name is the same everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def shown(field: FieldInfo) -> Shown:
    """Return how a field is shown."""
    found = [one for one in field.metadata if isinstance(one, Shown)]
    return found[-1] if found else Shown()


def option_name(name: str) -> str:
    """Return the option of the command line for a field's name."""
    return f"--{name.replace('_', '-')}"


def required_first(model: type[Request]) -> dict[str, FieldInfo]:
    """Return the fields of a model in the order in which people are shown them."""
    return dict(sorted(model.model_fields.items(), key=lambda item: not item[1].is_required()))


def made(
    model: type[_Model], values: Mapping[str, Any], name: Callable[[str], str] = str
) -> _Model:
    """Make a request of values that come from outside.

    Args:
        model: which request.
        values: field -> value.
        name: how messages call a field.

    Raises:
        UsageError: a value is missing, of another type or out of range, or there is no such field.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = [
            f"{'.'.join([name(str(one['loc'][0])), *map(str, one['loc'][1:])])}"
            + ("" if one["type"] == "missing" else f" {one['input']!r}")
            + f": {(said := message_of(one))[:1].lower()}{said[1:]}"
            for one in error.errors(include_url=False)
        ]
        raise UsageError("; ".join(problems)) from error


def parsed(text: str, base: _Model) -> _Model:
    """Read options as they are written on a command line, e.g. ``--select p50 --kind line``.

    Args:
        text: the options.
        base: counts where the text does not say.

    Raises:
        UsageError: an option is unknown, or a value is wrong.
    """
    parser = _Options(prog="", add_help=False, allow_abbrev=False)
    for name, field in type(base).model_fields.items():
        action = "append" if takes_several(field) else "store"
        parser.add_argument(option_name(name), action=action, default=argparse.SUPPRESS)
    try:
        given = vars(parser.parse_args(shlex.split(text)))
        return made(type(base), {**dict(base), **given}, option_name)
    except (UsageError, ValueError) as error:  # a quotation mark without its other half
        raise UsageError(f"{text!r}: {error}") from error


def takes_several(field: FieldInfo) -> bool:
    """Whether a field is a list, which its option is repeated for."""
    kinds = (field.annotation, *get_args(field.annotation))
    return any(get_origin(kind) is list for kind in kinds)


class _Options(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def database_of(given: str | None) -> str:
    """Return the database that is meant.

    Args:
        given: what was named, if anything was. The settings do not stand in for an empty name.

    Raises:
        UsageError: nothing was, and the settings name none.
    """
    if given is not None:
        return given
    found = load_settings().db
    if not found or not found.strip():
        raise UsageError("no database named: give --db URI, or set PATCHLIGHT_DB")
    return found


def _local_folder(given: str) -> str:
    """Return the path of a folder; results would be lost behind a scheme that nothing writes to."""
    if not re.match("[A-Za-z][A-Za-z0-9+.-]+:/", given):
        return given
    parts = urlsplit(given)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError("results go to a local folder today; give a path or a file:/// URI")
    return to_path(given)


def filled(what: str) -> Callable[[_Given], _Given]:
    """Return a check that refuses what names nothing: a variable that was not set, most often.

    Args:
        what: is named, e.g. ``a path``.

    Returns:
        A function that returns what it is given: a text, several, or None. It raises ValueError
        where a text is empty, blank or holds a NUL character, and where there is none in a list.
    """

    def check(given: _Given) -> _Given:
        if given is None:
            return given
        texts = [given] if isinstance(given, str) else given
        if not texts:
            raise ValueError(f"name {what}, or several")
        for text in texts:
            if not text.strip():
                raise ValueError(f"{what} must not be {'blank' if text else 'empty'}")
            if "\0" in (to_path(text) if text.startswith(FILE_SCHEME) else text):
                raise ValueError(f"{what} must not hold a NUL character")
        return given

    return check


def _run_id(given: str | None) -> str | None:
    """Refuse what would break lines of a log, or the ids of rows, which are parted by slashes."""
    if given is None:
        return given
    if len(given) > _LONGEST_RUN_ID:
        raise ValueError(f"an id must not be longer than {_LONGEST_RUN_ID} characters")
    if "/" in given or any(unicodedata.category(one) in _NOT_IN_RUN_IDS for one in given):
        raise ValueError("an id must not hold '/', line breaks or control characters")
    return given


def _portable(given: Any) -> Any:
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_portable(one) for one in given]
    return portable(given) if isinstance(given, str) else given


def _condition(given: str | None) -> str | None:
    checked = filled("a condition")(given)
    return checked and composed(checked)


AnyBytes = BeforeValidator(_portable)
"""Of fields that may hold a file name: what is not UTF-8 becomes what means the same and is."""

a_database = filled("a database")
"""Check of a database that is named."""
a_document = filled("a document")
"""Check of a document that is named."""

NamedPath = AfterValidator(filled("a path"))
"""Of fields that hold a path, or several."""
NamedEncoder = AfterValidator(filled("an encoder"))
"""Of fields that hold an encoder's hub id or folder."""
NamedLanguage = AfterValidator(filled("a language"))
"""Of fields that hold languages of Tesseract."""
NamedDocument = AfterValidator(a_document)
"""Of fields that hold what a document is known by."""
Condition = AfterValidator(_condition)
"""Of fields that hold a condition of SQL."""

Database = Annotated[
    str,
    AfterValidator(a_database),
    BeforeValidator(database_of, json_schema_input_type=str | None),
    Field(description="The database: a folder, file:// or s3:// URI."),
    Shown(metavar="URI", usual="PATCHLIGHT_DB"),
]
OF_SETTINGS: Any = None
"""Default of a `Database`: that of the settings."""

LocalFolder = Annotated[str, NamedPath, AfterValidator(_local_folder), Shown(metavar="DIR")]
Passwords = Annotated[
    str | None,
    NamedPath,
    Field(
        description="Passwords of encrypted PDFs, one '<name or pattern>:<password>' a line.",
    ),
    Shown(metavar="FILE"),
]
Workers = Annotated[
    int | None, Field(ge=1, description="Processes at work."), Shown(usual="one a CPU")
]
RunId = Annotated[str | None, AfterValidator(filled("an id")), AfterValidator(_run_id)]
EncoderSource = Annotated[
    str | None,
    NamedEncoder,
    Field(
        description="Where to take the database's encoder from, if not from where it was at "
        "ingest: a folder or a hub id with the same weights.",
    ),
    Shown(metavar="NAME"),
]
