"""The questions of a data set on their pages of evidence, with what signals are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import NamedTuple

from patchlight.storage import statistics
from patchlight.storage.database import Database
from patchlight.storage.reader import catalog, read_patches, read_regions
from patchlight.storage.regions import Regions
from patchlight.tasks.encoders import registry
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.matching import match
from patchlight.tasks.evaluation.records import EvidencePage, Question
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.kernels import maxsim
from patchlight.tasks.kernels.maxsim import CountedTokens
from patchlight.tasks.retrieval.scope import Catalog


class Stopwatch:
    """Milliseconds of things that are done again and again, by name."""

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is done inside, once more."""
        begun = perf_counter()
        yield
        self._took.setdefault(name, []).append(1000 * (perf_counter() - begun))

    def show(self) -> None:
        """Print medians."""
        print(
            "\nmedian milliseconds:",
            ", ".join(f"{name} {median(took):.1f}" for name, took in self._took.items()),
        )


class Asked(NamedTuple):
    """A page of evidence of a question.

    Attributes:
        question: it.
        evidence: the true boxes.
        page_id: of the page.
        regions: of the page; the same object for each of its questions.
        size_pt: width and height of the page.
        seen: by the page's patches.
    """

    question: Question
    evidence: EvidencePage
    page_id: str
    regions: Regions
    size_pt: tuple[float, float]
    seen: Seen


def asked(place: str, db: str) -> Iterator[Asked]:
    """Match a data set with a database, and ask each question on its pages of evidence.

    Args:
        place: folder of the data set.
        db: the database, with all its documents.
    """
    database = Database.open(db)
    snapshot = database.snapshot()
    pages = Catalog.of(catalog(snapshot))
    data = datasets.load(place)
    matched = match(data, pages, database.documents(), database.failures(), partial=False)
    encode = registry.load(registry.for_queries(database.encoder, None)).encode_queries
    terms = statistics.latest(database)
    known: dict[str, Regions] = {}
    for row in matched.rows:
        if row.position is None:
            continue
        question, key = matched.questions[row.question], pages.page_ids[row.position]
        if key not in known:
            known[key] = read_regions(snapshot, pages.keys([row.position]))[key]
        batch = read_patches(snapshot, [int(pages.patch_rows[row.position])])
        (encoding,) = encode([question.query], terms)
        if isinstance(encoding, Exception):
            raise encoding
        counted = CountedTokens.of([encoding], maxsim.QueryTokens.MEANING)
        vectors = maxsim.as_floats(batch.vectors, batch.scales)
        scores = maxsim.token_scores(maxsim.similarities(vectors, counted.vectors), counted.weights)
        grid = int(batch.rows[0]), int(batch.cols[0])
        size = float(pages.width_pt[row.position]), float(pages.height_pt[row.position])
        seen = Seen(scores, counted.weights, batch.cell_to_vector, grid)
        yield Asked(question, row.evidence, key, known[key], size, seen)
