"""Databases that hold a database's pages in other forms, for ``benchmarks.forms``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchlight.storage import convert
from patchlight.storage.database import Database
from patchlight.storage.engine import connect
from patchlight.storage.pages import Page as StoredPage
from patchlight.storage.reader import PatchBatch, Snapshot, catalog, read_patches
from patchlight.storage.records import BoolArray, PageEncoding, VectorForm, VectorType, WordsSource
from patchlight.storage.regions import Regions
from patchlight.storage.schema import Table
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.sources import to_path
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.evaluation.matching import Place as Page
from patchlight.tasks.kernels.pooling import blank_cells, drop_blank, pool
from patchlight.tasks.retrieval.scope import Catalog

BASE = "float16"
_NO_REGIONS = Regions.of_words(())
FORMS: Mapping[str, VectorForm] = {
    BASE: VectorForm(),
    "int8": VectorForm(VectorType.INT8),
    "pool 2": VectorForm(pool=2),
    "pool 3": VectorForm(pool=3),
    "pool 4": VectorForm(pool=4),
    "pool 2, int8": VectorForm(VectorType.INT8, pool=2),
    "pool 3, int8": VectorForm(VectorType.INT8, pool=3),
}
WITH_PICTURES: Mapping[str, VectorForm] = {
    "drop blank": VectorForm(drop_blank=True),
    "drop blank, pool 3, int8": VectorForm(VectorType.INT8, pool=3, drop_blank=True),
}
"""Measured too for encoders that see pictures; others have no vectors on blank cells."""
ONE_SCALE = "int8, one scale for all (not offered)"
"""Rounded to the integers of a scale that all vectors share, and kept as float16."""

_PAGES_AT_ONCE = 64
_PICTURE_DPI = 150
_MEASURED = ("vectors", "scales", "cell_to_vector")


@dataclass(frozen=True, slots=True)
class Stored:
    """A form, stored.

    Attributes:
        snapshot: of its database.
        catalog: its pages.
        vectors: a page, mean.
        arrow: bytes of `_MEASURED` a page, in Arrow.
        disk: bytes of the files of ``patches``, a page.
        compact_ms: milliseconds a page that compaction took, mean.
    """

    snapshot: Snapshot
    catalog: Catalog
    vectors: float
    arrow: float
    disk: float
    compact_ms: float


def store_forms(
    source: Database, snapshot: Snapshot, info: EncoderInfo, folder: Path
) -> dict[str, Stored]:
    """Store every form of a database's pages, as pinned, below a folder."""
    paths = {d.doc_id: to_path(d.sources[0].uri) for d in source.documents() if d.sources}

    def blank(page: Page, rows: int, cols: int) -> BoolArray:
        with open_document(paths[page[0]]) as document:
            return blank_cells(document.render(page[1], _PICTURE_DPI, gray=False), rows, cols)

    forms = {**FORMS, **(WITH_PICTURES if info.needs_image else {})}
    stored = {}
    for number, (name, form) in enumerate(forms.items()):
        stored[name] = derive(source, snapshot, form, folder / f"form-{number}", blank, None)
    step = _largest(snapshot) / 127
    stored[ONE_SCALE] = derive(
        source, snapshot, VectorForm(), folder / "form-one-scale", blank, step
    )
    return stored


def derive(
    source: Database,
    pinned: Snapshot,
    form: VectorForm,
    place: Path,
    blank: Callable[[Page, int, int], BoolArray],
    step: float | None,
) -> Stored:
    """Store a form of a database's pages.

    Args:
        source: the database.
        pinned: its pages.
        form: what to store.
        place: folder of the new database; what is there is removed.
        blank: says which cells of a page are blank, for its document and page, rows and cols.
        step: round every number to a multiple of this first; None to leave them.
    """
    shutil.rmtree(place, ignore_errors=True)
    left_out = shutil.ignore_patterns(f"{Table.META}.lance", f"{Table.PATCHES}.lance")
    shutil.copytree(source.uri, place, ignore=left_out)
    connection = connect(str(place))
    connection.create_table(Table.META.value, data=convert.meta_table(source.encoder, form))
    database = Database.create_or_open(place, source.encoder, form)
    table = connection.open_table(Table.PATCHES.value)
    known = catalog(pinned)
    keys = list(zip(known["doc_id"].to_pylist(), known["page"].to_pylist(), strict=True))
    patch_rows = known["patch_row"].to_numpy()
    page_keys = dict(zip(known["page_id"].to_pylist(), known["page_key"].to_pylist(), strict=True))
    seconds, arrow, vectors = 0.0, 0, 0
    for start in range(0, len(keys), _PAGES_AT_ONCE):
        chosen = slice(start, start + _PAGES_AT_ONCE)
        batch = read_patches(pinned, patch_rows[chosen])
        made = []
        for number, page in enumerate(keys[chosen]):
            encoding = _encoding(batch, number, step)
            cells = blank(page, encoding.rows, encoding.cols) if form.drop_blank else None
            begun = time.perf_counter()
            if cells is not None:
                encoding = drop_blank(encoding, cells)
            encoding = pool(encoding, form.pool)
            seconds += time.perf_counter() - begun
            vectors += len(encoding.vectors)
            made.append(_page(page, encoding))
        rows = convert.page_tables(made, source.encoder.dim, form.type).patches
        rows = convert.with_page_keys(rows, page_keys)
        arrow += sum(rows[name].nbytes for name in _MEASURED)
        table.add(rows)
    dataset = database.table(Table.PATCHES)
    dataset.optimize.compact_files()
    newest = database.table(Table.PATCHES)
    files = [file.path for part in newest.get_fragments() for file in part.data_files()]
    disk = sum((place / f"{Table.PATCHES}.lance" / "data" / name).stat().st_size for name in files)
    snapshot = database.snapshot()
    count = len(keys)
    return Stored(
        snapshot,
        Catalog.of(catalog(snapshot)),
        vectors / count,
        arrow / count,
        disk / count,
        seconds / count * 1000,
    )


def _encoding(batch: PatchBatch, number: int, step: float | None) -> PageEncoding:
    """A page of a batch of float16 vectors, in float32."""
    vectors = batch.vectors[slice(*batch.vector_offsets[[number, number + 1]])].astype(np.float32)
    if step is not None:
        vectors = (np.rint(vectors / step) * step).astype(np.float32)
    cells = batch.cell_to_vector[slice(*batch.cell_offsets[[number, number + 1]])]
    return PageEncoding(int(batch.rows[number]), int(batch.cols[number]), vectors, cells)


def _page(page: Page, encoding: PageEncoding) -> StoredPage:
    """A page of which only the row in ``patches`` is used."""
    return StoredPage(*page, 1.0, 1.0, 0, WordsSource.NONE, 0, "", {}, _NO_REGIONS, encoding)


def _largest(pinned: Snapshot) -> float:
    """The largest magnitude in any stored vector."""
    rows = catalog(pinned)["patch_row"].to_numpy()
    parts = (rows[s : s + _PAGES_AT_ONCE] for s in range(0, len(rows), _PAGES_AT_ONCE))
    batches = (read_patches(pinned, part).vectors for part in parts)
    return max(float(np.abs(vectors).max(initial=0)) for vectors in batches)
