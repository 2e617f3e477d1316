"""Write the sample documents, the questions about them, and where each answer stands.

Run `python examples/make_samples.py`; it needs reportlab, pypdfium2, Pillow and NumPy. With the
same versions of these, two runs give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samples import letter, paper, report
from samples.layout import Place
from samples.questions import QUESTIONS

HERE = Path(__file__).resolve().parent


def make(folder: Path) -> None:
    """Write `documents/`, `questions.jsonl` and `truth.jsonl` into `folder`."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    places: dict[str, dict[str, Place]] = {
        module.NAME: module.write(documents).found for module in (report, paper, letter)
    }
    questions, truth = [], []
    for number, question in enumerate(QUESTIONS, start=1):
        query_id = f"q{number:02d}"
        place = places[question.doc].pop(question.key)
        row: dict[str, Any] = {"query_id": query_id, "query": question.query}
        if question.by_doc:
            row["doc"] = question.doc
        if question.by_pages:
            row["pages"] = list(question.by_pages)
        row["answer"] = question.answer
        questions.append(row)
        truth.append(
            {
                "query_id": query_id,
                "doc": question.doc,
                "page": place.page,
                "kind": question.kind,
                "box": [round(edge, 4) for edge in place.box],
                "block": [round(edge, 4) for edge in place.block],
            }
        )
    unused = [key for found in places.values() for key in found]
    if unused:
        raise ValueError(f"no question asks for {unused}")
    _write_lines(folder / "questions.jsonl", questions)
    _write_lines(folder / "truth.jsonl", truth)


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object on each line."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode())


def main() -> None:
    """Read the command line, and write the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=HERE, help="folder (default: this one)")
    make(parser.parse_args().into)


if __name__ == "__main__":
    main()
