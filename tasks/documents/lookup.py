"""Which document a person means by an id, a URI, a path or a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from patchlight.storage.records import Document, Source
from patchlight.tasks.documents.sources import shown, to_uri

SHORTEST_ID = 8
"""Digits of an id that stand for all of it; with fewer, a name is more likely meant."""


def fits(wanted: str, doc_id: str, sources: Iterable[Source]) -> bool:
    """Whether a document may be meant.

    Args:
        wanted: its id, the first 8 digits of that or more, or of one of its sources the URI, the
            path, the name as given at ingest, or the file name.
        doc_id: its id; empty for a file that could not be read.
        sources: where it was found.
    """
    if re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},64}}", wanted) and doc_id.startswith(wanted):
        return True
    uri, name = to_uri(wanted), shown(wanted)
    return any(
        source.uri in (wanted, uri) or name in (shown(source.name), file_name(source.uri))
        for source in sources
    )


def file_name(uri: str) -> str:
    """Return the last part of a URI's path, as it can be shown."""
    path = unquote(urlsplit(uri).path, errors="surrogateescape")
    return shown(PurePosixPath(path).name)


def name_of(document: Document) -> str:
    """Return what people call a document; one that is being removed has lost its name."""
    sources = document.sources
    return sources[0].name if sources else f"{document.doc_id[:12]} (being removed)"
