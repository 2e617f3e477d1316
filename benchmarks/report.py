"""Writing what was measured: Markdown on stdout, JSON beside the results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table under a heading; all columns but the first are numbers."""
    print(f"\n### {title}\n")
    print(_line(headers))
    print(_line(["---"] + ["--:"] * (len(headers) - 1)))
    for row in rows:
        print(_line(row), flush=True)


def number(value: float) -> str:
    """Return a value in [-1, 1] with three decimals and no leading zero: ``.042``."""
    return f"{value:.3f}".replace("0.", ".", 1)


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{value * 100:.1f}"


def with_interval(value: float, interval: tuple[float, float], signed: bool = False) -> str:
    """Return ``.042 [.010, .070]``, with a plus sign for a difference above zero."""
    low, high = interval
    plus = "+" if signed and value > 0 else ""
    return f"{plus}{number(value)} [{number(low)}, {number(high)}]"


def write_json(path: Path, data: Any) -> None:
    """Write a report and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
