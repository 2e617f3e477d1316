"""Taking values out of a line of a data set; errors name file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from patchlight.tasks.common.errors import DatasetError, KernelError
from patchlight.tasks.kernels.geometry import Doubles, check_boxes

_T = TypeVar("_T")

_OVERHANG = 0.02
"""Share of the page's side by which a true box may leave the page; it is cut off. More than that
are other units than those that the line names."""


@dataclass(frozen=True, slots=True)
class DataLine:
    """A line of a data set.

    Attributes:
        file: the file.
        number: of the line, from 1.
        row: what is in it.
    """

    file: Path
    number: int
    row: Mapping[str, Any]

    def error(self, problem: str) -> DatasetError:
        """Return the error that says what is wrong with this line."""
        return DatasetError(f"{self.file}, line {self.number}: {problem}")

    def get(self, key: str, kind: type[_T]) -> _T:
        """Return a value that must be there.

        Raises:
            DatasetError: it is not, or is of another type.
        """
        value = self.row.get(key)
        # A whole number is a number; True is not.
        if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
        names = {str: "a text", int: "a whole number", list: "a list"}
        raise self.error(f"{key!r} must be {names.get(kind, kind.__name__)}, got {value!r}")

    def text(self, *keys: str) -> str:
        """Return the first of some texts that is there and not blank."""
        for key in keys:
            value = self.row.get(key)
            if isinstance(value, str) and value.strip():
                return value
        raise self.error(f"needs {' or '.join(map(repr, keys))}, a text that is not blank")

    def size(self, key: str) -> tuple[float, float]:
        """Return width and height, both above 0."""
        value = self.get(key, list)
        if len(value) == 2 and all(_is_number(side) and side > 0 for side in value):
            return float(value[0]), float(value[1])
        raise self.error(f"{key!r} must be a width and a height above 0, got {value!r}")

    def boxes(self, key: str, value: object, size: tuple[float, float]) -> Doubles:
        """Return boxes as fractions of the page.

        Args:
            key: what the value is called, for messages.
            value: list of ``[x0, y0, x1, y1]``, origin top left; at least one.
            size: width and height of the page in the same unit.

        Returns:
            (m, 4) float64 in [0, 1].

        Raises:
            DatasetError: it is not that, or a box leaves the page by more than a rounding error.
        """
        if not isinstance(value, list) or not value:
            raise self.error(f"{key!r} must hold at least one box, got {value!r}")
        for box in value:
            if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
                raise self.error(f"{key!r} must hold boxes [x0, y0, x1, y1], got {box!r}")
        boxes = np.array(value, np.float64) / np.tile(size, 2)
        if (boxes < -_OVERHANG).any() or (boxes > 1 + _OVERHANG).any():
            raise self.error(
                f"{key!r} holds a box that leaves the page of {size[0]:g} x {size[1]:g}: {value!r}"
            )
        inside: Doubles = np.clip(boxes, 0.0, 1.0)
        try:
            check_boxes(inside)
        except KernelError as error:
            raise self.error(f"{key!r}: {error}") from error
        return inside


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
