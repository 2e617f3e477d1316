"""What a data set of questions with human evidence holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.kernels.geometry import Doubles

MIXED = "mixed"
"""Category of evidence of several kinds."""
NONE = "none"
"""Category, or domain, where the data set names none."""

SMALL_TARGET = 0.01
"""Share of the page. A data set whose median true box is smaller is one of small targets."""


@dataclass(frozen=True, slots=True, eq=False)
class EvidencePage:
    """A page that holds evidence for a question.

    Attributes:
        file: the document, relative to the data set's folder.
        page: 1-based number in that file.
        boxes: (m, 4) float64 true boxes, fractions of the displayed page, m at least 1.
        size: width and height of the displayed page as the data set has it, in any unit; None
            where it does not say.
        clean: whether the row is marked as unambiguous; None where the data set has no marks.
        line: 1-based line in the data set's file.
    """

    file: str
    page: int
    boxes: Doubles
    size: tuple[float, float] | None
    clean: bool | None
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question with its evidence.

    Attributes:
        question_id: unique in the data set.
        query: the question.
        doc: name of the document it is about; rows of one are not independent.
        evidence: the pages whose boxes are known, in the order of the file; at least one.
        pages: file and 1-based number of every page that answers it; holds those of ``evidence``.
        category: what the evidence is, e.g. ``table``, or the data set's own kind of question.
        domain: what the document is, e.g. ``Financial report``.
    """

    question_id: str
    query: str
    doc: str
    evidence: tuple[EvidencePage, ...]
    pages: frozenset[tuple[str, int]]
    category: str
    domain: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Attributes:
        name: of its folder.
        folder: where its documents lie.
        file: its questions.
        sha256: of that file.
        form: which of the formats that are read.
        questions: in the order of the file.
        one_page_files: whether every page is a file, and so a document, of its own.
    """

    name: str
    folder: Path
    file: Path
    sha256: str
    form: str
    questions: tuple[Question, ...]
    one_page_files: bool

    @property
    def files(self) -> list[str]:
        """Documents that questions name, each once, sorted."""
        return sorted({file for question in self.questions for file, _ in question.pages})

    @property
    def truth(self) -> Truth:
        """How true boxes are to be taken where nobody says."""
        return truth_of([at.boxes for q in self.questions for at in q.evidence])


def truth_of(boxes: Sequence[Doubles]) -> Truth:
    """Return what true boxes stand for, by their size; see `SMALL_TARGET`."""
    every = np.concatenate(boxes)
    median = float(np.median((every[:, 2:] - every[:, :2]).prod(axis=1)))
    return Truth.ANY if median < SMALL_TARGET else Truth.ALL


def category_of(names: Sequence[str]) -> str:
    """Return one name for the kinds of evidence of a question."""
    kinds = sorted(set(names))
    return kinds[0] if len(kinds) == 1 else MIXED if kinds else NONE
