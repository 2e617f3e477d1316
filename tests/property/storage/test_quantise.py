"""Integers with a scale a vector: the error is bounded, whatever the vector."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from patchlight.storage.quantise import LARGEST, quantise
from patchlight.storage.records import FloatArray

VECTORS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.one_of(
        st.floats(-1, 1, width=32),
        st.floats(-8e6, 8e6, width=32),
        st.floats(-(2**-20), 2**-20, width=32),
    ),
)


@given(VECTORS)
def test_the_error_is_at_most_half_a_step(vectors: FloatArray) -> None:
    integers, scales = quantise(vectors)
    assert (integers.dtype, scales.dtype) == (np.dtype(np.int8), np.dtype(np.float16))
    assert np.abs(integers.astype(int)).max() <= LARGEST
    step = scales.astype(np.float64)[:, None]
    error = np.abs(integers * step - vectors)
    assert (error <= step * 0.5 * (1 + 1e-5)).all()


@given(VECTORS)
def test_a_step_is_no_larger_than_it_must_be(vectors: FloatArray) -> None:
    # A scale for all vectors, or one rounded up twice, would pass the test above.
    _, scales = quantise(vectors)
    largest = np.abs(vectors).max(axis=1).astype(np.float64)
    assert (scales * np.float64(LARGEST) >= largest).all()
    smaller = np.nextafter(scales, np.float16(-1)).astype(np.float64)
    assert ((smaller * LARGEST < largest) | (scales == 0)).all()


@given(VECTORS)
def test_a_vector_does_not_depend_on_those_beside_it(vectors: FloatArray) -> None:
    integers, scales = quantise(vectors)
    for row, vector in enumerate(vectors):
        alone, scale = quantise(vector[None])
        assert (alone[0] == integers[row]).all()
        assert scale[0] == scales[row]


def test_a_scale_that_float16_rounds_down_does_not_overflow() -> None:
    # The float16 nearest to 1.8e-5 / 127 is a sixth below it: 1.8e-5 would become 151.
    assert np.rint(1.8e-5 / np.float64(np.float16(1.8e-5 / 127))) == 151
    vectors = np.array([[1.8e-5, -1.8e-5], [1.0, -0.9999]], np.float32)
    integers, _ = quantise(vectors)
    assert np.abs(integers.astype(int)).max() <= LARGEST
    assert (np.sign(integers) == np.sign(vectors)).all()


def test_zeros_and_nothing() -> None:
    with np.errstate(invalid="raise"):  # 0 / 0 would be NaN, and NaN any integer
        integers, scales = quantise(np.zeros((2, 3), np.float32))
    assert not integers.any()
    assert not scales.any()
    integers, scales = quantise(np.empty((0, 3), np.float32))
    assert (integers.shape, scales.shape) == ((0, 3), (0,))


def test_what_has_no_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="too large for int8"):
        quantise(np.array([[9e6]], np.float32))
