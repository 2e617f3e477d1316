"""That merging keeps files few, and what it rewrites in proportion to what is new."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from patchlight.storage.merging import is_hollow, tail

FULL = 4096
COMMITS = st.lists(st.integers(1, 600), min_size=1, max_size=400)


def merged(files: list[int]) -> tuple[list[int], int]:
    """The files after one merge, and the rows that it wrote."""
    count = tail(files, FULL)
    if not count:
        return files, 0
    rows = sum(files[-count:])
    new = [FULL] * (rows // FULL) + ([rows % FULL] if rows % FULL else [])
    return files[:-count] + new, rows


@given(COMMITS)
def test_a_table_that_grows_is_rewritten_a_few_times_in_all(commits: list[int]) -> None:
    files: list[int] = []
    written = 0
    for rows in commits:
        files, now = merged([*files, rows])
        written += now
        assert len([size for size in files if size < FULL]) <= 8 * (2 + math.log2(FULL))
    assert sum(files) == sum(commits)
    assert written <= 6 * sum(commits)


@given(COMMITS)
def test_many_files_that_were_never_merged_are_few_after_one_merge(files: list[int]) -> None:
    """Whatever their sizes: a long run may merge them at its end only."""
    files, _ = merged(files)
    assert len([size for size in files if size < FULL]) <= 8 * (2 + math.log2(FULL))


@given(st.integers(1, 100_000), st.integers(1, 200))
def test_single_rows_never_rewrite_a_large_table(stored: int, added: int) -> None:
    """A merge writes at most twice the rows that are new to the files."""
    files = [FULL] * (stored // FULL) + ([stored % FULL] if stored % FULL else [])
    for new in range(1, added + 1):
        files, now = merged([*files, 1])
        assert now <= 2 * new
    assert sum(files) == stored + added


@given(st.integers(1, 10_000))
def test_a_file_is_hollow_only_if_much_of_it_is_deleted(rows: int) -> None:
    assert not is_hollow(rows, 0)
    assert is_hollow(rows, rows)
