"""Vectors as 8-bit integers, each vector with a scale of its own. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import FloatArray

QUANTISE_VERSION = 1
"""Raise when the same vectors may become other integers or scales."""

LARGEST = 127
"""Integers lie in [-127, 127]: -128 has no opposite."""


def quantise(vectors: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Write vectors as integers times a scale.

    The scale is a vector's largest magnitude divided by 127, rounded *up* to float16: by one
    that is rounded down, the largest value of a small vector comes out far above 127. Integers
    are made with the rounded scale, so that ``integers * scales`` is off by at most half a scale
    in every place.

    Args:
        vectors: (n, dim) float32, finite.

    Returns:
        (n, dim) int8 in [-127, 127], and (n,) float16 scales, 0 for a vector of zeros.

    Raises:
        ValueError: a value is too large for its scale to be a float16, above 8,319,000.

    >>> integers, scales = quantise(np.array([[127.0, -63.5], [0.0, 0.0]], np.float32))
    >>> integers.tolist(), scales.tolist()
    ([[127, -64], [0, 0]], [1.0, 0.0])
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)  # (n,)
    exact = largest / np.float32(LARGEST)  # (n,)
    with np.errstate(over="ignore"):
        scales = exact.astype(np.float16)
    low = scales.astype(np.float32) * LARGEST < largest  # exact: 11 bits times 7
    scales[low] = np.nextafter(scales[low], np.float16(np.inf))
    if not np.isfinite(scales).all():
        raise ValueError("a patch vector is too large for int8; vectors must be unit length")
    divisor = np.where(scales == 0, 1, scales).astype(np.float32)  # (n,)
    return np.rint(vectors / divisor[:, None]).astype(np.int8), scales
