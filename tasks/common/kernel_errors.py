"""Errors of the kernels: what is wrong with an array or a choice handed to them.

The tree::

    PatchlightError            exit code
      KernelError              INTERNAL    also a ValueError
        BoxError               INTERNAL
        ShapeError             INTERNAL
        NotFiniteError         INTERNAL
        AggregationError       USAGE
        SelectionError         USAGE
"""

from __future__ import annotations

from enum import Enum

from storage.errors import ExitCode, PatchlightError


class KernelError(PatchlightError, ValueError):
    """A kernel was handed something it has no right answer for."""


class BoxError(KernelError):
    """A box is not finite, inverted, empty, or off the page."""


class ShapeError(KernelError):
    """Arrays do not fit together: wrong dimensions, offsets, lengths or sizes."""


class NotFiniteError(KernelError):
    """A score or weight is NaN or infinite where only a number makes sense."""


class AggregationError(KernelError):
    """There is no aggregation of that name."""

    exit_code = ExitCode.USAGE


class SelectionError(KernelError):
    """A selection rule is unknown, or its value is out of range."""

    exit_code = ExitCode.USAGE


def unknown_aggregation(choices: type[Enum], value: object) -> AggregationError:
    """Error for a value that is not one of `choices`; its message lists them."""
    listed = ", ".join(str(choice.value) for choice in choices)
    return AggregationError(f"unknown aggregation {str(value)!r}; choose one of {listed}")
