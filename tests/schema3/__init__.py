"""A small database of schema 3 as its version left it; ``make.py`` says how it was made."""

import tarfile
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = HERE / "questions.jsonl"
RESULTS = HERE / "results.jsonl"
"""What it answered to these questions."""


def unpacked(folder: Path) -> str:
    """Unpack the database; returns where it is."""
    with tarfile.open(HERE / "database.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return str(folder / "db")
