"""A small database of schema 3 as its version left it; ``make.py`` says how it was made."""

import tarfile
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = HERE / "questions.jsonl"
RESULTS = HERE / "results.jsonl"
"""What it answered to these questions."""
CUT_OFF = ["the first page is whole", "the second page was never stored"]
"""Texts of the document whose ingest was cut off, as in ``make.py``, which only runs with the older
version and so shares nothing with the tests."""


def unpacked(folder: Path) -> str:
    """Unpack the database; returns where it is."""
    with tarfile.open(HERE / "database.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return str(folder / "db")
