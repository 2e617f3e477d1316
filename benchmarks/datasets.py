"""Public data sets of questions with human evidence, read into records.

A data set is a folder with ``questions.jsonl`` and ``pdfs/``; the folder that holds the data
sets is named by ``--data`` or the environment variable ``PATCHLIGHT_DATA``. One line is one page
of evidence: ``qid``, ``doc`` (file name), ``page`` (0-based), ``query``, ``gt_boxes`` in points
of the displayed page (origin top left) with its ``page_size``, and ``category``.

`mmdocir` is MMDocIR, `financebench` is FinanceBench with boxes aligned from the evidence text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tasks.geometry import Doubles

DATASETS = ("mmdocir", "financebench")

_UNITS = "pdf_points_topleft_0based_page"
_MMDOCIR_CATEGORIES = {
    "Pure-text (Plain-text)": "text",
    "Generalized-text (Layout)": "text",
    "Table": "table",
    "Figure": "figure+chart",
    "Chart": "figure+chart",
}
MIXED = "mixed or none"


@dataclass(frozen=True, slots=True)
class EvidencePage:
    """A page that holds evidence for a question.

    Attributes:
        page: 1-based number.
        boxes: (n, 4) float64 true boxes, fractions of the displayed page, n at least 1.
        size_pt: width and height of the displayed page in points, as the data set has it.
        clean: whether the row is marked as unambiguous: the question's only page, and boxes
            of 0.2 to 40 % of it. Always False where a data set has no such mark.
    """

    page: int
    boxes: Doubles
    size_pt: tuple[float, float]
    clean: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its evidence.

    Attributes:
        question_id: unique in the data set.
        query: the question.
        doc: file name of the document it is about.
        evidence: the pages that answer it, rising; at least one.
        category: what the evidence is (MMDocIR: text, table, figure+chart, or `MIXED`), or
            the data set's own kind of question.
    """

    question_id: str
    query: str
    doc: str
    evidence: tuple[EvidencePage, ...]
    category: str


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: one of `DATASETS`.
        folder: where it lies.
        questions: by question_id in the file's order.
    """

    name: str
    folder: Path
    questions: tuple[Question, ...]

    @cached_property
    def doc_ids(self) -> dict[str, str]:
        """File name of every PDF -> its id in a database, the SHA-256 of its bytes."""
        ids = {}
        for path in sorted((self.folder / "pdfs").glob("*.pdf")):
            with path.open("rb") as file:
                ids[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return ids

    def path(self, doc: str) -> Path:
        """Return where a document lies."""
        return self.folder / "pdfs" / doc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which data set, which database and where to write."""
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--db", required=True, help="the database, with the PDFs ingested")
    parser.add_argument("--work", required=True, type=Path, help="folder for what is written")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PATCHLIGHT_DATA"),
        help="folder of the data sets  [default: $PATCHLIGHT_DATA]",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="leave out questions on documents that the database does not have",
    )


def load(name: str, data: Path | str | None) -> Dataset:
    """Read a data set.

    Args:
        name: one of `DATASETS`.
        data: the folder that holds the data sets.

    Raises:
        SystemExit: there is no such folder.
        ValueError: a line is not as the module says.
    """
    if data is None:
        raise SystemExit("name the folder of the data sets: --data, or PATCHLIGHT_DATA")
    folder = Path(data) / name
    file = folder / "questions.jsonl"
    if not file.exists():
        raise SystemExit(f"{file} does not exist; is --data right?")
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        grouped.setdefault(row["qid"], []).append(row)
    return Dataset(name, folder, tuple(_question(rows) for rows in grouped.values()))


def _question(rows: Sequence[Mapping[str, Any]]) -> Question:
    first = rows[0]
    same = all((row["query"], row["doc"]) == (first["query"], first["doc"]) for row in rows)
    evidence = tuple(sorted((_evidence(row) for row in rows), key=lambda page: page.page))
    pages = {page.page for page in evidence}
    listed = {page + 1 for page in first.get("all_evidence_pages", ())} or pages
    if not same or len(pages) < len(rows) or pages != listed:
        raise ValueError(f"question {first['qid']}: its rows do not fit together")
    return Question(first["qid"], first["query"], first["doc"], evidence, _category(first))


def _evidence(row: Mapping[str, Any]) -> EvidencePage:
    if row["units"] != _UNITS or not row["gt_boxes"]:
        raise ValueError(f"question {row['qid']}: boxes in {_UNITS} expected")
    width, height = row["page_size"]
    boxes = np.array(row["gt_boxes"], np.float64) / [width, height, width, height]
    return EvidencePage(
        row["page"] + 1, np.clip(boxes, 0.0, 1.0), (width, height), bool(row.get("clean", False))
    )


def _category(row: Mapping[str, Any]) -> str:
    if isinstance(row["category"], str):
        return row["category"]
    found = {_MMDOCIR_CATEGORIES[name] for name in row["category"]}
    return found.pop() if len(found) == 1 else MIXED
