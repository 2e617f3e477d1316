"""Tables and numbers of reports, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

Interval = Sequence[float | None]
"""Value, lower and upper end; None where there is none."""


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> list[str]:
    """Return the lines of a table.

    Args:
        headers: of the columns.
        rows: cells, as Markdown.
        numbers: whether all columns but the first hold numbers.
    """
    ruler = ["---"] + ["--:" if numbers else "---"] * (len(headers) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (headers, ruler, *rows)]


def number(value: float | None) -> str:
    """Return a value in [-1, 1] with three decimals and no leading zero: ``.042``."""
    return "" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return "" if value is None else f"{value * 100:.1f}"


def with_interval(interval: Interval, *, signed: bool = False) -> str:
    """Return ``.042 [.010, .070]``, with a plus sign for a difference above zero."""
    above = interval[0] is not None and interval[0] > 0
    return ("+" if signed and above else "") + _framed(interval, number)


def percent_with_interval(interval: Interval) -> str:
    """Return ``4.2 [1.0, 7.0]``, in per cent."""
    return _framed(interval, percent)


def _framed(interval: Interval, show: Callable[[float | None], str]) -> str:
    value, low, high = interval
    return show(value) if low is None else f"{show(value)} [{show(low)}, {show(high)}]"
