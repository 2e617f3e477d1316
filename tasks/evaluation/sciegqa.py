"""The format of BBox-DocVQA, later SciEGQA: a line a question, pages as images at 300 dpi.

A line holds ``query`` or ``question``, ``doc_name``, ``evidence_page`` (1-based numbers) and, for
each of these pages, in ``bbox`` its boxes in pixels of the page's image and in later versions in
``rel_bbox`` the same from 0 to 1000. Images are named by ``images`` or ``image_paths``, one a
page, or lie at ``<category>/<doc_name>/<doc_name>_<page>.png``. ``category`` is the field of the
paper; ``subimg_tpye`` (as it is written there; later ``subimg_type``) is what each box shows.

Every image is a document of one page.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from patchlight.tasks.common.errors import SourceError
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents.sources import stamp_of
from patchlight.tasks.evaluation.fields import DataLine
from patchlight.tasks.evaluation.records import NONE, EvidencePage, Question, category_of
from patchlight.tasks.reading import sandboxwork
from patchlight.tasks.reading.sandboxwork import Where
from patchlight.tasks.sandbox import calling

KEYS = frozenset({"evidence_page", "bbox", "doc_name"})

_WHOLE = (1000.0, 1000.0)


def read(folder: Path, lines: list[DataLine]) -> tuple[Question, ...]:
    """Return the questions of a data set; they are named by their lines.

    The size of an image is read only where a line has no ``rel_bbox``.

    Raises:
        DatasetError: a line is not as the module says, or an image is not there or cannot be
            opened.
    """
    limits = Limits.of(load_settings())
    return tuple(_question(folder, line, limits) for line in lines)


def _question(folder: Path, line: DataLine, limits: Limits) -> Question:
    doc = line.text("doc_name")
    evidence = _evidence(folder, line, limits)
    # A page that is named twice is one page with the boxes of both.
    by_file: dict[str, EvidencePage] = {}
    for at in evidence:
        same = by_file.get(at.file)
        boxes = at.boxes if same is None else np.concatenate([same.boxes, at.boxes])
        by_file[at.file] = EvidencePage(at.file, 1, boxes, at.size, None, line.number)
    return Question(
        f"line {line.number}",
        line.text("query", "question"),
        doc,
        tuple(by_file.values()),
        frozenset((file, 1) for file in by_file),
        category_of(list(_flat(line.row.get("subimg_tpye") or line.row.get("subimg_type")))),
        str(line.row.get("category") or NONE),
    )


def _evidence(folder: Path, line: DataLine, limits: Limits) -> list[EvidencePage]:
    pages = line.get("evidence_page", list)
    if not pages or not all(isinstance(page, int) and page >= 1 for page in pages):
        raise line.error(f"'evidence_page' must be page numbers from 1, got {pages!r}")
    key = "rel_bbox" if line.row.get("rel_bbox") else "bbox"
    boxes = line.get(key, list)
    images = line.row.get("images") or line.row.get("image_paths") or [None] * len(pages)
    for name, values in ((key, boxes), ("images", images)):
        if not isinstance(values, list) or len(values) != len(pages):
            raise line.error(f"{name!r} must have an entry for each of the {len(pages)} pages")
    found = []
    for page, on_page, image in zip(pages, boxes, images, strict=True):
        file = _image(folder, line, page, image)
        size = None if key == "rel_bbox" else _size_px(folder / file, line, limits)
        true = line.boxes(key, on_page, size or _WHOLE)
        found.append(EvidencePage(file, 1, true, size, None, line.number))
    return found


def _image(folder: Path, line: DataLine, page: int, named: object) -> str:
    doc = line.text("doc_name")
    category = str(line.row.get("category") or "")
    usual = (Path(category) / doc / f"{doc}_{page}.png").as_posix()
    tried = [named, usual] if isinstance(named, str) and named else [usual]
    for name in tried:
        if (folder / name).is_file():
            return name
    places = " nor ".join(str(folder / name) for name in tried)
    raise line.error(f"the image of page {page} is missing: {places}")


def _size_px(path: Path, line: DataLine, limits: Limits) -> tuple[float, float]:
    try:
        width, height = _read_size(str(path), stamp_of(str(path)), limits)
    except SourceError as error:
        raise line.error(f"the size of its image is not known: {error}") from error
    return float(width), float(height)


@lru_cache(maxsize=8192)
def _read_size(path: str, stamp: tuple[int, int], limits: Limits) -> tuple[int, int]:
    """Read the size of an image; many questions are asked on one page."""
    where = Where(path, limits=limits)
    return calling.call(sandboxwork.size_px, where, label=path, limits=limits)


def _flat(value: object) -> Iterator[str]:
    """Yield the texts in lists of lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _flat(part)
