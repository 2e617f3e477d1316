"""What an ingest is asked to do, and trying again what failed in one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from patchlight.storage.records import VectorType
from patchlight.tasks.common.errors import Category
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.requests.fields import (
    OF_SETTINGS,
    AnyBytes,
    Database,
    NamedDocument,
    NamedEncoder,
    NamedLanguage,
    NamedPath,
    Passwords,
    Request,
    Shown,
    Workers,
)


class IngestRequest(Request):
    """Documents to read into a database, and how."""

    source: Annotated[
        list[str], AnyBytes, NamedPath, Shown("SOURCE...", argument=True, any_bytes=True)
    ] = Field(description="Files, folders (recursive) or globs.")
    db: Database = OF_SETTINGS
    encoder: Annotated[
        str | None, NamedEncoder, Shown("NAME", usual="the database's, or text-patch")
    ] = Field(
        default=None,
        description="Encoder of a new database: text-patch, which needs no GPU and no download; or "
        "a ColPali-like vision model, by its hub id (owner/name or owner/name@revision) or a "
        "folder; docs/encoders.md lists them.",
    )
    visual_tokens: Annotated[int | None, Shown(usual="the database's, or 768")] = Field(
        default=None,
        ge=64,
        le=16384,
        description="Most patches a page is cut into, for the models that leave a choice.",
    )
    vectors: Annotated[VectorType | None, Shown(usual="the database's, or float16")] = Field(
        default=None,
        description="How a number of a vector is stored; int8 takes half the space.",
    )
    pool: Annotated[int | None, Shown(usual="the database's, or 1")] = Field(
        default=None,
        ge=1,
        le=64,
        description="Token pooling: patches that share a stored vector; every cell keeps its "
        "place.",
    )
    drop_blank: Annotated[
        bool | None, Shown(usual="the database's, or kept", negative="--keep-blank")
    ] = Field(default=None, description="Whether cells without ink are stored without a vector.")
    ocr: OcrMode = Field(
        default=OcrMode.AUTO,
        description="Which pages are OCRed: those without a text layer, all, none.",
    )
    lang: Annotated[str, NamedLanguage] = Field(
        default="eng",
        description="Tesseract language, e.g. eng+deu; 'patchlight doctor' lists them.",
    )
    dpi: int = Field(
        default=200, ge=50, le=1200, description="Resolution at which PDF pages are drawn."
    )
    layout: Annotated[LayoutMode | None, Shown(usual="PATCHLIGHT_LAYOUT, or auto")] = Field(
        default=None,
        description="Whether the layout model looks at pages, for figures, tables, headings, "
        "captions.",
    )
    metadata: Annotated[
        str | None, AnyBytes, NamedPath, Shown("FILE.csv|jsonl|parquet", any_bytes=True)
    ] = Field(
        default=None,
        description="What you know of documents, a row each: a column 'path', 'doc_id' or 'sha256' "
        "and columns of your own, for --where, SQL and results.",
    )
    passwords: Passwords = None
    workers: Workers = None
    gpus: Annotated[int | None, Shown(usual="all of Ray's cluster")] = Field(
        default=None, ge=0, description="GPUs for an encoder that wants one; 0 for the CPU."
    )
    force: bool = Field(default=False, description="Do every page of the documents named again.")
    sync: bool = Field(
        default=False,
        description="Remove documents from the database whose files are gone from the folders.",
    )


class RetryRequest(Request):
    """Failures to try again; each is read as in the run in which it failed."""

    db: Database = OF_SETTINGS
    category: list[Category] | None = Field(
        default=None, description="Failures of this category only; may be repeated."
    )
    doc: Annotated[str | None, AnyBytes, NamedDocument, Shown("DOC", any_bytes=True)] = Field(
        default=None,
        description="Failures of this document only: its id, or 8 digits of it or more, its URI, "
        "path, or name.",
    )
    passwords: Passwords = None
    workers: Workers = None
