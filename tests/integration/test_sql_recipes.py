"""Guards docs/sql.md: its recipes run as they stand, and give what `patchlight sql` gives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from benchmarks.questions import Rows, differences
from patchlight.storage.sql import run_sql

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(sql|python)\n(.*?)^```", re.M | re.S)


def _recipes() -> Iterator[tuple[str, str, str]]:
    """Heading with a number, the question in SQL, and what answers it elsewhere."""
    for section in re.split(r"^### ", PAGE, flags=re.M)[1:]:
        heading = section.partition("\n")[0].partition(":")[0]
        question = ""
        for number, (language, code) in enumerate(_BLOCK.findall(section)):
            if language == "sql":
                question = code
            elif question:
                yield f"{heading} {number}", question, code


RECIPES = list(_recipes())
PREPARATION = [
    code for language, code in _BLOCK.findall(PAGE[: PAGE.index("```sql")]) if language == "python"
]


@pytest.fixture(scope="module")
def names(analysed_db: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the first blocks define, in a folder where ``mydb`` and ``docs`` are."""
    here = tmp_path_factory.mktemp("here")
    (here / "mydb").symlink_to(analysed_db)
    (here / "docs").symlink_to(ROOT / "docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        names: dict[str, Any] = {}
        for code in PREPARATION:
            exec(code, names)
        yield names


def _plain(value: Any) -> Any:
    """A value as Python has it, null as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    assert value is None or isinstance(value, bool | int | float | str | datetime)
    return value


def _rows(found: Any) -> Rows:
    """Rows of whatever a tool has them in."""
    match found:
        case duckdb.DuckDBPyRelation():
            rows = found.fetchall()
        case pl.DataFrame():
            rows = found.rows()
        case pd.DataFrame():
            rows = list(found.itertuples(index=False, name=None))
        case pa.Table():
            rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
        case _:
            rows = found
    return [tuple(map(_plain, row)) for row in rows]


@pytest.mark.parametrize(
    ("question", "code"), [r[1:] for r in RECIPES], ids=[r[0] for r in RECIPES]
)
def test_a_recipe_finds_what_sql_finds(
    analysed_db: str, names: dict[str, Any], question: str, code: str
) -> None:
    expected = [tuple(r.values()) for r in run_sql(analysed_db, question).read_all().to_pylist()]
    assert expected
    own = dict(names)
    exec(code, own)
    assert list(differences(expected, _rows(own["found"]))) == []


def test_every_tool_has_recipes() -> None:
    """A recipe that is not found, because a fence is wrong, would not be run."""
    assert len(PREPARATION) == 2
    assert len(RECIPES) == PAGE.count("found =")
    for tool in ("con.sql", "pl.", "pandas()", "db.open_table", "to_table(", "duckdb.sql"):
        assert any(tool in code for _, _, code in RECIPES), tool


def test_no_recipe_attaches() -> None:
    assert not any("ATTACH" in code for code in (*PREPARATION, *(r[2] for r in RECIPES)))
