"""Reading a data set, in whichever of the known formats it is; docs/evaluation.md has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from patchlight.tasks.common.errors import DatasetError
from patchlight.tasks.common.rowfiles import json_lines
from patchlight.tasks.documents.sources import sha256_of
from patchlight.tasks.evaluation import evidencerows, sciegqa
from patchlight.tasks.evaluation.fields import DataLine
from patchlight.tasks.evaluation.records import Dataset, Question

QUESTIONS = "questions.jsonl"


class _Format(NamedTuple):
    name: str
    keys: frozenset[str]
    read: Callable[[Path, list[DataLine]], tuple[Question, ...]]
    one_page_files: bool


_FORMATS = (
    _Format("evidence rows", evidencerows.KEYS, evidencerows.read, False),
    _Format("BBox-DocVQA/SciEGQA", sciegqa.KEYS, sciegqa.read, True),
)


def load(place: str | Path) -> Dataset:
    """Read a data set.

    Args:
        place: its folder, with ``questions.jsonl`` or one other ``.jsonl`` file in it; or that
            file, in the folder of the documents.

    Raises:
        DatasetError: there is none, or a line is not in a supported format; names file and line.
    """
    lines = lines_of(place)
    form = _format_of(lines[0])
    file = lines[0].file
    folder = file.parent
    questions = form.read(folder, lines)
    digest, _ = sha256_of(str(file))
    name = folder.resolve().name
    return Dataset(name, folder, file, digest, form.name, questions, form.one_page_files)


def lines_of(place: str | Path) -> list[DataLine]:
    """Return the lines of a data set's file, of whatever format; at least one.

    Args:
        place: as for `load`.

    Raises:
        DatasetError: there is no file, no line, or a line is no JSON object.
    """
    file = _file_of(Path(place))
    lines = [
        DataLine(file, number, _object(file, number, row))
        for number, row in json_lines(file, DatasetError)
    ]
    if not lines:
        raise DatasetError(f"{file}: holds no question")
    return lines


def _file_of(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise DatasetError(f"{place}: no such folder")
    if (place / QUESTIONS).is_file():
        return place / QUESTIONS
    found = sorted(path for path in place.glob("*.jsonl") if path.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise DatasetError(f"{place}: holds neither {QUESTIONS} nor another .jsonl file")
    names = ", ".join(path.name for path in found)
    raise DatasetError(f"{place}: holds several .jsonl files; name one of {names}")


def _object(file: Path, line: int, row: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(row, str):
        raise DatasetError(f"{file}, line {line}: {row}")
    return row


def _format_of(first: DataLine) -> _Format:
    for form in _FORMATS:
        if form.keys <= first.row.keys():
            return form
    known = "; ".join(f"{form.name}: {', '.join(sorted(form.keys))}" for form in _FORMATS)
    raise first.error(f"is not in a supported format. Each format has its keys: {known}")
