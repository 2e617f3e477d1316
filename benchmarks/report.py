"""Writing what was measured: Markdown on stdout, JSON beside the results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from patchlight.tasks.evaluation.markdown import table


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table under a heading; all columns but the first are numbers."""
    print(f"\n### {title}\n")
    for line in table(headers, rows):
        print(line, flush=True)


def write_json(path: Path, data: Any) -> None:
    """Write a report and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")
