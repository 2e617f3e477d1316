"""What is said before a run starts about an argument that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchlight.tasks.admin.preflight import check_query
from patchlight.tasks.common.errors import QueryFileError
from patchlight.tasks.requests.query import QueryRequest


def test_a_folder_as_the_query_file_is_called_a_folder(tmp_path: Path) -> None:
    request = QueryRequest(file=str(tmp_path), db=str(tmp_path / "db"), out=str(tmp_path / "out"))
    with pytest.raises(QueryFileError, match="is a folder"):
        check_query(request)
