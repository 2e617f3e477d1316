"""Print docs/duckdb-views.sql: the views of ``patchlight sql`` for those who use DuckDB instead.

python -m patchlight.tasks.admin.duckdbviews > docs/duckdb-views.sql
"""

from __future__ import annotations

from patchlight.storage import sqlviews
from patchlight.tasks.common.advice import ADVICE

_HEAD = """\
-- The views of `patchlight sql`, but storage_by_table, for DuckDB with its extension `lance`.
-- docs/sql.md says how to load it. Before this file is read, tell where the database is:
--
--     SET VARIABLE db = 'mydb';
--
-- Written by `python -m patchlight.tasks.admin.duckdbviews` from storage/sqlviews.py.
"""


def text() -> str:
    """The file, whole."""
    return f"{_HEAD}\n{sqlviews.for_duckdb(ADVICE)}"


if __name__ == "__main__":
    print(text(), end="")
