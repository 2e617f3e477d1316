"""Data sets with a line for each page of evidence, beside their ``pdfs/`` or ``images/``.

A line holds ``qid``, ``doc`` (file name), ``page`` (0-based), ``query``, ``gt_boxes`` and
``units``, which says what the boxes are in: points of the displayed page, of ``page_size``, or
pixels of the image, of ``image_size``. It may hold ``category``, ``domain``, ``clean``, and
``all_evidence_pages`` (0-based) where not all pages of evidence have boxes.
"""

from __future__ import annotations

from pathlib import Path

from patchlight.tasks.evaluation.fields import DataLine
from patchlight.tasks.evaluation.records import NONE, EvidencePage, Question, category_of

KEYS = frozenset({"qid", "doc", "page", "query", "gt_boxes", "units"})

_SIZE_OF = {
    "pdf_points_topleft_0based_page": "page_size",
    "pixels_of_image": "image_size",
}
"""Unit -> where the size of the page is in it."""

_FOLDERS = ("pdfs", "images", ".")

_KINDS = {
    "Pure-text (Plain-text)": "text",
    "Generalized-text (Layout)": "text",
    "Table": "table",
    "Figure": "figure and chart",
    "Chart": "figure and chart",
}
"""Kinds of evidence of MMDocIR (arXiv 2501.08828), taken together where they are few."""


def read(folder: Path, lines: list[DataLine]) -> tuple[Question, ...]:
    """Return the questions of a data set.

    Args:
        folder: where its documents lie.
        lines: its lines.

    Raises:
        DatasetError: a line is not as the module says, lines of one question do not fit
            together, or a document is missing.
    """
    grouped: dict[str, list[DataLine]] = {}
    for line in lines:
        grouped.setdefault(line.text("qid"), []).append(line)
    return tuple(_question(folder, name, own) for name, own in grouped.items())


def _question(folder: Path, question_id: str, lines: list[DataLine]) -> Question:
    first = lines[0]
    query, doc = first.text("query"), first.text("doc")
    evidence = tuple(_evidence(folder, line) for line in lines)
    pages: set[tuple[str, int]] = set()
    for line, found in zip(lines, evidence, strict=True):
        if (line.text("query"), line.text("doc")) != (query, doc):
            raise line.error(
                f"question {question_id!r} has another query or document than in line "
                f"{first.number}"
            )
        if (found.file, found.page) in pages:
            raise line.error(f"question {question_id!r} has page {found.page - 1} a second time")
        pages.add((found.file, found.page))
    listed = first.row.get("all_evidence_pages") or []
    for page in listed:
        if not isinstance(page, int) or page < 0:
            raise first.error(f"'all_evidence_pages' must be page numbers from 0, got {listed!r}")
        pages.add((evidence[0].file, page + 1))
    category = first.row.get("category") or []
    names = [category] if isinstance(category, str) else list(map(str, category))
    return Question(
        question_id,
        query,
        doc,
        evidence,
        frozenset(pages),
        category_of([_KINDS.get(name, name) for name in names]),
        str(first.row.get("domain") or NONE),
    )


def _evidence(folder: Path, line: DataLine) -> EvidencePage:
    unit = line.text("units")
    if unit not in _SIZE_OF:
        raise line.error(f"'units' must be one of {', '.join(_SIZE_OF)}, got {unit!r}")
    page = line.get("page", int)
    if page < 0:
        raise line.error(f"'page' counts from 0, got {page}")
    size = line.size(_SIZE_OF[unit])
    clean = line.row.get("clean")
    return EvidencePage(
        _document(folder, line),
        page + 1,
        line.boxes("gt_boxes", line.get("gt_boxes", list), size),
        size,
        None if clean is None else bool(clean),
        line.number,
    )


def _document(folder: Path, line: DataLine) -> str:
    doc = line.text("doc")
    named = line.row.get("image")
    tried = [str(named)] if named else [(Path(place) / doc).as_posix() for place in _FOLDERS]
    for name in tried:
        if (folder / name).is_file():
            return name
    places = " or ".join(str(folder / name) for name in tried)
    raise line.error(f"its document is missing: it should be {places}")
