"""Guards how the mass of a question's tokens is spread and weighed, by hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.tasks.common.errors import ShapeError
from patchlight.tasks.grounding.evidence import HeldPatches, cells_held, evidence, patch_mass


def test_evidence_by_hand() -> None:
    # Half of the page; all of the first token, a quarter of the second; b = 0.2.
    found = evidence(np.array([[1.0, 0.25]]), np.array([0.5]), np.array([0.5, 0.5]), 0.2)
    # 0.8 * 1 / 0.5 + 0.2 = 1.8 and 0.8 * 0.25 / 0.5 + 0.2 = 0.6
    assert found.density == pytest.approx([0.5 * math.log(1.8) + 0.5 * math.log(0.6)])
    # 0.8 * 1 + 0.2 = 1 and 0.8 * 0.25 + 0.2 = 0.4
    assert found.coverage == pytest.approx([0.5 * math.log(0.4)])


def test_a_small_span_that_hits_is_dense_and_a_large_one_covers() -> None:
    mass, share = np.array([[0.5], [1.0], [0.1]]), np.array([0.1, 0.8, 0.1])
    found = evidence(mass, share, np.ones(1), 0.1)
    small, large, usual = found.density
    assert small > large > usual == pytest.approx(0)
    assert found.coverage.argmax() == 1


def test_nothing_held_is_worth_the_background() -> None:
    found = evidence(np.zeros((1, 2)), np.zeros(1), np.array([0.5, 0.5]), 0.2)
    assert found.density == found.coverage == pytest.approx([math.log(0.2)])


@pytest.mark.parametrize(("spans", "tokens"), [(1, 2), (2, 3)])
def test_evidence_refuses_what_does_not_fit(spans: int, tokens: int) -> None:
    with pytest.raises(ShapeError):
        evidence(np.zeros((2, 2)), np.zeros(spans), np.ones(tokens), 0.2)


def test_mass_by_hand() -> None:
    # Mean 5, deviation 1: e and 1/e, parted by their sum.
    mass = patch_mass(np.array([[6.0], [4.0]], np.float32))
    assert mass[:, 0] == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])


def test_a_lone_patch_does_not_take_all() -> None:
    # One of 101: ten deviations up, of which eight count; the others lie 0.1 below the mean.
    scores = np.zeros((101, 1), np.float32)
    scores[7] = 1
    mass = patch_mass(scores)[:, 0]
    assert mass[7] / mass[0] == pytest.approx(math.exp(8.1))


def test_a_token_that_lights_up_everything_lies_everywhere() -> None:
    third = np.float32(1 / 3)  # its mean over 7 is not itself
    mass = patch_mass(np.array([[third, 0.0, i] for i in range(7)], np.float32))
    assert (mass[:, :2] == 1 / 7).all()
    assert mass[0, 2] < 1 / 7 < mass[6, 2]


def test_no_patch_has_no_mass() -> None:
    assert patch_mass(np.empty((0, 3), np.float32)).shape == (0, 3)


def test_cells_held_by_hand() -> None:
    boxes = np.array([[0.25, 0.0, 1.0, 0.5], [0.5, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]])
    assert cells_held(boxes, 2, 2).tolist() == [
        [0.5, 1, 0, 0],
        [0, 0.25, 0, 0.25],
        [1, 1, 1, 1],
    ]
    # Two rows of one cell: the first box has the middle three quarters of the upper one.
    assert cells_held(boxes[:1], 2, 1).tolist() == [[0.75, 0]]
    assert cells_held(np.empty((0, 4)), 2, 3).shape == (0, 6)


def test_patches_held_by_hand() -> None:
    held = HeldPatches(np.array([[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.5, 0.5]]))
    # Cells without a vector are not there: of three the left column has two. Its two vectors are
    # the same, mean 1/3, and the third is another: deviations 0.707 up and 1.414 down.
    cells = np.array([0, 1, 0, -1])
    mass, part = held.mass(np.array([[1.0], [0.0], [9.0]]), cells, (2, 2))
    lit, dark = math.exp(0.5**0.5), math.exp(-(2**0.5))
    total = 2 * lit + dark
    assert mass == pytest.approx(np.array([[2 * lit / total], [0.5 * lit / total]]))
    assert part == pytest.approx([2 / 3, 1 / 6])
    # Asked for another grid, the same boxes hold other cells.
    mass, part = held.mass(np.array([[1.0, 0.0]]), np.array([0]), (1, 1))
    assert mass == pytest.approx(np.array([[0.5, 0.5], [0.125, 0.125]]))
    assert part == pytest.approx([0.5, 0.125])


@pytest.mark.filterwarnings("error")
def test_without_patches_nothing_is_held() -> None:
    mass, part = HeldPatches(np.array([[0.0, 0.0, 1.0, 1.0]])).mass(
        np.empty((0, 2)), np.array([-1, -1]), (1, 2)
    )
    assert mass.tolist() == [[0, 0]] and part.tolist() == [0]
