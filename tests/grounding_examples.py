"""Stored pages with random vectors, and queries of them, for the tests of places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables
from patchlight.storage.database import Database
from patchlight.storage.reader import Snapshot
from patchlight.storage.records import FloatArray, PageEncoding, QueryEncoding, RegionKind
from patchlight.tasks.grounding.records import GroundingOptions, PagePlaces
from patchlight.tasks.grounding.selection import Selection, SelectionRule
from patchlight.tasks.kernels.maxsim import TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from tests.region_examples import Region, record_of
from tests.storage_examples import DIM, ENCODER, document, page, put

ROWS, COLS, VECTORS = 4, 3, 9

Placed = tuple[RegionKind, int, tuple[float, float, float, float], str]
"""Kind, reading order, box and text of a region."""


@dataclass
class Stored:
    """A database's pages as they are read: by page_id key, row and each cell's vector."""

    snapshot: Snapshot
    rows: dict[str, tuple[int, int]]
    cells: dict[str, list[FloatArray | None]]


def unit(rng: np.random.Generator, n: int) -> FloatArray:
    vectors = rng.standard_normal((n, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def store(
    path: Path, doc: str, pages: Sequence[tuple[Sequence[Placed], NDArray[np.int32]]]
) -> Stored:
    """Make a database of a document; its pages' rows by page number, without vectors.

    Args:
        path: of the database.
        doc: name of the document.
        pages: regions of each, and the vector of each cell, -1 for none.
    """
    rng = np.random.default_rng(5)
    made = [
        replace(
            page(doc, number),
            encoding=PageEncoding(ROWS, COLS, unit(rng, VECTORS if cells.max() >= 0 else 0), cells),
            regions=record_of(
                Region(index, kind, -1, order, *box, text=text, confidence=0.5)
                for index, (kind, order, box, text) in enumerate(regions)
            ),
        )
        for number, (regions, cells) in enumerate(pages, 1)
    ]
    database = Database.create_or_open(path, ENCODER)
    committer = Committer(database, "run")
    committer.commit_pages(page_tables(made, DIM))
    put(committer, document(doc, len(made)))
    snapshot = database.snapshot()
    catalog = reader.catalog(snapshot)
    names, numbers = (catalog[name].to_pylist() for name in ("page_id", "patch_row"))
    found = zip(catalog["page_key"].to_pylist(), numbers, strict=True)
    return Stored(snapshot, dict(sorted(zip(names, found, strict=True))), {})


def query(seed: int, tokens: int = 7, share: float = 0.6) -> QueryEncoding:
    rng = np.random.default_rng(seed)
    meaning = rng.random(tokens) < share
    meaning[rng.integers(tokens)] = True
    weights = rng.uniform(0.1, 9, tokens).astype(np.float32)
    names = tuple(f"t{i % 4}" for i in range(tokens))  # the same token may come twice
    return QueryEncoding(names, unit(rng, tokens), weights, meaning)


def options(**chosen: Any) -> GroundingOptions:
    defaults: dict[str, Any] = {
        "top_regions": 3,
        "selection": Selection(SelectionRule.TOP_K, 3),
        "region_aggregate": RegionAggregation.MAX,
        "token_aggregate": TokenAggregation.MEAN,
        "kinds": (RegionKind.BLOCK,),
    }
    return GroundingOptions(**defaults | chosen)


def shown(places: PagePlaces) -> tuple[object, ...]:
    """All of it, to compare bit for bit."""
    return places.rows, places.cols, places.cell_scores.tolist(), places.regions
