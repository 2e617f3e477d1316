"""The twelve questions of `benchmarks.questions` for Polars, which reads tables through Lance."""

from __future__ import annotations

from collections.abc import Callable

import lance
import polars as pl

VISIBLE = ["complete", "partial"]
OCR = "ocr"
STAGES = ("words", "regions", "encoder")


class Frames:
    """The tables, each read as far as a question needs it."""

    def __init__(self, db: str, doc_id: str, term: str) -> None:
        """Tell where the database is, and what is asked of."""
        self._db = db
        self.doc_id = doc_id
        self.term = term

    def __getitem__(self, table: str) -> pl.LazyFrame:
        """A table in its newest version."""
        return pl.scan_pyarrow_dataset(lance.dataset(f"{self._db}/{table}.lance"))

    @property
    def documents(self) -> pl.LazyFrame:
        """The documents that queries see."""
        return self["documents"].filter(pl.col("status").is_in(VISIBLE))

    @property
    def names(self) -> pl.LazyFrame:
        """Their names, to be joined."""
        return self.documents.select("doc_id", "name")


def _coverage(frames: Frames) -> pl.LazyFrame:
    source = pl.col("words_source")
    pages = (
        frames["pages"]
        .group_by("doc_id")
        .agg(
            text_layer_pages=(source == "text_layer").sum(),
            ocr_pages=(source == OCR).sum(),
            no_words_pages=(source == "none").sum(),
            words=pl.col("n_words").cast(pl.Int64).sum(),
            regions=pl.col("n_regions").cast(pl.Int64).sum(),
        )
    )
    tables = frames["regions"].filter(pl.col("kind") == "table")
    tables = tables.group_by("doc_id").agg(tables=pl.len())
    counts = (
        "text_layer_pages", "ocr_pages", "no_words_pages", "words", "regions", "tables",
    )  # fmt: skip
    return (
        frames.documents.join(pages, on="doc_id", how="left")
        .join(tables, on="doc_id", how="left")
        .sort("name", "doc_id")
        .select(
            *("name", "status", "page_count", "pages_stored", "pages_failed"),
            *(pl.col(name).fill_null(0) for name in counts),
        )
    )


def _failures(frames: Frames) -> pl.LazyFrame:
    return (
        frames["failures"]
        .group_by("category", "stage")
        .agg(
            failures=pl.len(),
            of_documents=(pl.col("page") == 0).sum(),
            of_pages=(pl.col("page") > 0).sum(),
            retryable=pl.col("retryable").sum(),
        )
        .sort("category", "stage")
    )


def _unsure(frames: Frames) -> pl.LazyFrame:
    pages = frames["pages"].filter(pl.col("words_source") == OCR)
    sure = pl.col("words").struct.field("confidence").cast(pl.Float64)
    words = (
        frames["words"]
        .select("page_key", "words")
        .join(pages.select("page_key"), on="page_key", how="semi")
        .explode("words")
        .drop_nulls("words")
        .group_by("page_key")
        .agg(words=pl.len(), mean=sure.mean(), unsure=((sure * 100).round() < 60).sum())
    )
    return (
        pages.join(words, on="page_key")
        .join(frames.names, on="doc_id")
        .sort("page_id")
        .select("name", "page", "ocr_dpi", "words", "mean", "unsure")
    )


def _tables(frames: Frames) -> pl.LazyFrame:
    return (
        frames["regions"]
        .filter(
            pl.col("doc_id") == frames.doc_id,
            pl.col("kind") == "cell",
            pl.col("table_id").is_not_null(),
        )
        .sort("region_id")
        .select("page", "table_id", "row", "col", "row_span", "col_span", "text")
    )


def _headings(frames: Frames) -> pl.LazyFrame:
    return (
        frames["regions"]
        .filter(pl.col("doc_id") == frames.doc_id, pl.col("kind") == "heading")
        .sort("page", "reading_order")
        .select("page", "reading_order", "text")
    )


def _term(frames: Frames) -> pl.LazyFrame:
    return (
        frames["regions"]
        .filter(pl.col("kind") == "paragraph")
        .filter((" " + pl.col("terms") + " ").str.contains(f" {frames.term} ", literal=True))
        .join(frames.names, on="doc_id")
        .sort("region_id")
        .select("name", "page", "reading_order", "text")
    )


def _largest(frames: Frames) -> pl.LazyFrame:
    return (
        frames["pages"]
        .join(frames.names, on="doc_id")
        .sort("vector_bytes", "page_id", descending=[True, False])
        .head(20)
        .select("name", "page", "n_vectors", "vector_bytes")
    )


def _slowest(frames: Frames) -> pl.LazyFrame:
    total = pl.col("words_ms") + pl.col("regions_ms") + pl.col("encoder_ms")
    return (
        frames["pages"]
        .with_columns(total_ms=total)
        .join(frames.names, on="doc_id")
        .sort("total_ms", "doc_id", "page", descending=[True, False, False], nulls_last=True)
        .head(20)
        .select("name", "page", "words_source", "total_ms")
    )


def _stages(frames: Frames) -> pl.LazyFrame:
    ms = pl.col("ms").drop_nulls()
    away = "half_away_from_zero"
    return (
        frames["pages"]
        .select(pl.col(f"{stage}_ms").cast(pl.Float64).alias(stage) for stage in STAGES)
        .unpivot(variable_name="stage", value_name="ms")
        .group_by("stage")
        .agg(
            pages=ms.len(),
            total_s=(ms.sum() / 1000).round(3, away),
            median_ms=ms.median().round(1, away),
            p90_ms=ms.quantile(0.9, "linear").round(1, away),
        )
        .sort("stage")
    )


def _answers(frames: Frames) -> pl.LazyFrame:
    last = (
        frames["runs"]
        .filter(
            pl.col("kind") == "query",
            pl.col("status").is_in(["completed", "completed_with_failures"]),
        )
        .sort("number")
        .tail(1)
    )
    x, y = pl.col("width_pt"), pl.col("height_pt")
    return (
        frames["retrievals"]
        .join(last.select("run_id"), on="run_id", how="semi")
        .join(frames.names, on="doc_id", how="left")
        .sort("query_id", "page_rank", "region_rank")
        .select(
            *("query_id", "page_rank", "region_rank", "name", "page", "kind", "text", "score"),
            left_pt=pl.col("x0") * x,
            top_pt=pl.col("y0") * y,
            right_pt=pl.col("x1") * x,
            bottom_pt=pl.col("y1") * y,
        )
    )


def _runs(frames: Frames) -> pl.LazyFrame:
    report = pl.col("summary").str.json_decode(
        pl.Struct({"pages_added": pl.Int64, "pages_failed": pl.Int64})
    )
    seconds = (pl.col("ended_at") - pl.col("started_at")).dt.total_microseconds() / 1e6
    return (
        frames["runs"]
        .sort("number")
        .select(
            *("number", "kind", "status", "started_at"),
            seconds.round(3, "half_away_from_zero").alias("seconds"),
            report.struct.field("pages_added"),
            report.struct.field("pages_failed"),
        )
    )


def _places(frames: Frames) -> pl.LazyFrame:
    return (
        frames.documents.filter(pl.col("sources").list.len() > 1)
        .explode("sources")
        .select("doc_id", uri=pl.col("sources").struct.field("uri"))
        .sort("doc_id", "uri")
    )


ANSWERS: dict[str, Callable[[Frames], pl.LazyFrame]] = {
    "coverage": _coverage,
    "failures": _failures,
    "unsure": _unsure,
    "tables": _tables,
    "headings": _headings,
    "term": _term,
    "largest": _largest,
    "slowest": _slowest,
    "stages": _stages,
    "answers": _answers,
    "runs": _runs,
    "places": _places,
}
"""What answers the question of a name."""
