"""A large database made of a small one, to measure what size costs.

Every document is written so many times, under new ids and places. The words of each text are
permuted and the vectors get noise, so that no two pages are alike, and pages are as large, and
have as many regions, vectors and words, as real ones. What the boxes mean is lost: such a
database is for times and sizes, not for the quality of answers. The same seed gives the same rows.

    python -m benchmarks.grow SMALL LARGE --copies 32
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patchlight.storage import sequences
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.engine import one_of, table_uri
from patchlight.storage.records import VISIBLE, Document, Source, VectorType
from patchlight.storage.schema import PARTS, Table
from patchlight.tasks.common.terms import terms
from patchlight.tasks.encoders import registry
from patchlight.tasks.ingest.termcounts import bring_up_to_date

SEED = 0
NOISE = 0.02
"""Standard deviation of what is added to each number of a vector of length 1."""

_DOC_ID = 64
"""Characters of a document's id, which page_id and region_id begin with."""
_RUN = "grow"


def grow(small: Database, place: str, copies: int, seed: int = SEED) -> Database:
    """Write a database's visible documents so many times into a new one.

    Args:
        small: the database, at rest.
        place: where the new one is to be.
        copies: how often, at least 1.
        seed: of the permutations and the noise.
    """
    large = Database.create_or_open(place, small.encoder, small.form)
    committer = Committer(large, _RUN)
    documents = [document for document in small.documents() if document.status in VISIBLE]
    for copy in range(copies):
        began = time.perf_counter()
        for document in documents:
            _write(small, large, document, _copied(document, copy, seed), [seed, copy])
        rows = {d.doc_id: d for d in (_copied(document, copy, seed) for document in documents)}
        committer.change_documents(rows, lambda doc_id, _, rows=rows: rows[doc_id])  # type: ignore[misc]
        took_s = time.perf_counter() - began
        print(f"copy {copy + 1} of {copies}: {took_s:.0f} s", file=sys.stderr, flush=True)
    if count := registry.for_queries(small.encoder).terms:
        bring_up_to_date(large, committer, count)
    committer.optimize()
    return large


def _copied(document: Document, copy: int, seed: int) -> Document:
    name = f"copy-{copy:03d}/{Path(document.sources[0].name).name}"
    return replace(
        document,
        doc_id=hashlib.sha256(f"{seed} {copy} {document.doc_id}".encode()).hexdigest(),
        sources=(Source(f"file:///grown/{name}", name),),
        run_id=_RUN,
    )


def _write(
    small: Database, large: Database, document: Document, copied: Document, seed: list[int]
) -> None:
    """Write the pages of a document, a table at a time."""
    rng = np.random.default_rng([*seed, int(copied.doc_id[:8], 16)])
    own = one_of("doc_id", [document.doc_id])
    old = small.table(Table.PAGES).to_table(["page_key"], own)["page_key"].to_pylist()
    first = sequences.take(large, sequences.PAGE_KEYS, len(old))
    keys = pa.array(old, pa.int64()), pa.array(range(first, first + len(old)), pa.int64())
    for table in (*PARTS, Table.PAGES):
        dataset = small.table(table)
        rows = dataset.to_table(filter=own)
        rows = _with_ids(rows, copied.doc_id, keys)
        if "text" in rows.column_names:
            texts = [_permuted(text, rng) for text in rows["text"].to_pylist()]
            rows = _with(rows, "text", texts)
            rows = _with(rows, "terms", [" ".join(terms(text)) for text in texts])
        if table is Table.WORDS:
            for name in ("words", "lines"):
                rows = _with(rows, name, _shuffled(rows[name].combine_chunks(), rng))
        if table is Table.PATCHES:
            noisy = _noisy(rows["vectors"].combine_chunks(), large.form.type, rng)
            rows = _with(rows, "vectors", noisy)
        lance.write_dataset(rows, table_uri(large.uri, table), mode="append")


def _with(rows: pa.Table, name: str, values: object) -> pa.Table:
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(at)
    column = values if isinstance(values, pa.Array) else pa.array(values, field.type)
    return rows.set_column(at, field, column)


def _with_ids(rows: pa.Table, doc_id: str, keys: tuple[pa.Array, pa.Array]) -> pa.Table:
    old, new = keys
    at = pc.index_in(rows["page_key"].combine_chunks(), value_set=old)
    rows = _with(rows, "page_key", new.take(at))
    for name in ("doc_id", "page_id", "region_id", "parent_id", "table_id"):
        if name in rows.column_names:
            rest = pc.utf8_slice_codeunits(rows[name].combine_chunks(), _DOC_ID)
            rows = _with(rows, name, pc.binary_join_element_wise(doc_id, rest, ""))
    return rows


def _permuted(text: str, rng: np.random.Generator) -> str:
    """The words of a text in another order, line by line."""
    return "\n".join(" ".join(_words(line, rng)) for line in text.split("\n"))


def _words(line: str, rng: np.random.Generator) -> Iterator[str]:
    words = line.split(" ")
    return (words[at] for at in rng.permutation(len(words)))


def _shuffled(lists: pa.ListArray, rng: np.random.Generator) -> pa.ListArray:
    """Words or lines whose texts have changed places."""
    structs = lists.flatten()
    columns = [structs.field(field.name) for field in structs.type]
    at = structs.type.get_field_index("text")
    columns[at] = columns[at].take(pa.array(rng.permutation(len(structs))))
    offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    again = pa.StructArray.from_arrays(columns, fields=list(structs.type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), again, type=lists.type)


def _noisy(lists: pa.ListArray, form: VectorType, rng: np.random.Generator) -> pa.ListArray:
    """Vectors with noise, of length 1 again; integers of int8 are moved by one step at most."""
    flat = lists.flatten()
    dim = flat.type.list_size
    values = flat.flatten().to_numpy().reshape(-1, dim)
    if form is VectorType.INT8:
        moved = values + rng.integers(-1, 2, values.shape, np.int8) * (np.abs(values) < 127)
    else:
        noisy = values.astype(np.float32)
        noisy += NOISE * rng.standard_normal(noisy.shape, np.float32)
        norms = np.linalg.norm(noisy, axis=1, keepdims=True)
        moved = np.divide(noisy, norms, out=noisy, where=norms > 0).astype(np.float16)
    made = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(moved).ravel()), type=flat.type
    )
    offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), made, type=lists.type)


def main() -> None:
    """Make the large database, and say how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("small", help="the database to grow from")
    parser.add_argument("large", help="a place where there is none yet")
    parser.add_argument("--copies", type=int, default=32)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    if Path(args.large).exists():
        parser.error(f"{args.large} is there already")
    large = grow(Database.open(args.small), args.large, args.copies, args.seed)
    for table in Table:
        folder = Path(table_uri(large.uri, table))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{table:12} {large.table(table).count_rows():>10,} rows {size / 1e6:>10,.1f} MB")


if __name__ == "__main__":
    main()
