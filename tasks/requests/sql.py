"""What is asked of the tables in SQL, and how the rows are to come."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from patchlight.tasks.requests.fields import (
    OF_SETTINGS,
    Database,
    EncoderSource,
    NamedPath,
    Request,
    Shown,
)


class RowFormat(StrEnum):
    """How ``patchlight sql`` gives rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


class SqlRequest(Request):
    """Statements that look at a database."""

    statement: Annotated[str | None, Shown("SELECT", argument=True)] = Field(
        default=None, description="SQL, or '-' for SQL on stdin."
    )
    db: Database = OF_SETTINGS
    encoder: EncoderSource = None
    file: Annotated[str | None, NamedPath, Shown("FILE")] = Field(
        default=None,
        description="File with the SQL, instead of SELECT: statements parted by ';', answered in "
        "their order.",
    )
    format: Annotated[RowFormat | None, Shown(usual="by the suffix of --out, or table")] = Field(
        default=None,
        description="How rows come: table to be read, csv with a header, json (an array), jsonl "
        "(an object a line), parquet (needs --out).",
    )
    out: Annotated[str | None, NamedPath, Shown("FILE")] = Field(
        default=None, description="File for the rows, instead of stdout; replaced if it is there."
    )
    raw: bool = Field(
        default=False,
        description="CSV: leave texts as they are that a spreadsheet takes for formulas.",
    )
