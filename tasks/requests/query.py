"""What a batch of queries, or one question, asks for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from patchlight.tasks.requests.fields import (
    OF_SETTINGS,
    AnyBytes,
    Condition,
    Database,
    EncoderSource,
    LocalFolder,
    NamedDocument,
    NamedPath,
    Passwords,
    Request,
    RunId,
    Shown,
    Workers,
)
from patchlight.tasks.requests.retrieval import RetrievalRequest, TopPages

Where = Annotated[
    str | None,
    Condition,
    Field(
        description="Look only at pages for which this is true, over documents, "
        "their pages and their metadata, e.g. "
        "\"name LIKE '%10K%' AND page <= 20\".",
    ),
    Shown(metavar="SQL"),
]
Overlays = Annotated[bool, Field(description="Draw each returned page with heat map and boxes.")]


class _OfDatabase(Request):
    db: Database = OF_SETTINGS
    encoder: EncoderSource = None


class QueryRequest(RetrievalRequest, _OfDatabase):
    """A batch of queries to answer, and where the answers go."""

    file: Annotated[str, NamedPath, Shown("FILE", argument=True)] = Field(
        description="Queries: .jsonl, .csv or .parquet, or '-' for JSONL on stdin. A row has a "
        "unique 'query_id', a 'query', and may have 'doc' (an id, URI or file name) and 'pages' "
        "(1-based) to say where to look. Other columns are carried through.",
    )
    out: LocalFolder = Field(description="Folder for the results.")
    where: Where = None
    overlays: Overlays = False
    passwords: Passwords = None
    workers: Workers = None
    as_of: RunId = Field(
        default=None,
        description="Id of a query run or evaluation: answer from what that has read, whatever "
        "came since.",
    )
    run_id: RunId = Field(
        default=None, description="Id of the run; results under the same id are replaced."
    )


class AskRequest(RetrievalRequest, _OfDatabase):
    """One question to answer at once."""

    query: Annotated[str, Shown("QUESTION", argument=True)] = Field(
        description="What you want to find."
    )
    top_pages: TopPages = 3
    doc: Annotated[str | None, AnyBytes, NamedDocument, Shown(any_bytes=True)] = Field(
        default=None, description="Look in this document only: its id, URI or file name."
    )
    where: Where = None
    overlays: Overlays = False
    out: LocalFolder = Field(default=".", description="Folder for the pictures.")
    passwords: Passwords = None
