"""Disturbing a migration, and watching it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.schema import Table
from patchlight.storage.writer import Writer


def fail_at(patch: pytest.MonkeyPatch, number: int) -> dict[str, int]:
    """Let every write of rows from one on fail, but those of leases."""
    writes = {"count": 0}

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: Writer, table: Table, *args: Any) -> Any:
            writes["count"] += table is not Table.RUNS
            if writes["count"] >= number and table is not Table.RUNS:
                raise StorageUnavailable("away")
            return real(self, table, *args)

        return write

    for name in ("append", "upsert", "replace_all"):
        patch.setattr(Writer, name, failing(getattr(Writer, name)))
    return writes


def count_pages(patch: pytest.MonkeyPatch) -> list[int]:
    """Note how many pages each commit has."""
    counts: list[int] = []
    real = Committer.commit_pages

    def commit(self: Committer, pages: Any) -> None:
        counts.append(pages.pages.num_rows)
        real(self, pages)

    patch.setattr(Committer, "commit_pages", commit)
    return counts
