"""What crosses beside the socket: where the work is, and large arrays."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from patchlight.tasks.common.errors import Stage
from patchlight.tasks.sandbox.sharedmemory import SharedMemory


@pytest.fixture
def sides() -> tuple[SharedMemory, SharedMemory]:
    here = SharedMemory()
    return here, SharedMemory(os.dup(here.descriptor))


@pytest.mark.parametrize("stage", Stage)
def test_the_other_side_reads_what_was_noted(
    sides: tuple[SharedMemory, SharedMemory], stage: Stage
) -> None:
    here, there = sides
    assert here.noted() == there.noted() == (Stage.OPEN, 0)
    there.note(stage, 120)
    assert here.noted() == (stage, 120)


def test_arrays_of_any_size_and_order_cross(sides: tuple[SharedMemory, SharedMemory]) -> None:
    here, there = sides
    whole = np.arange(3_000_000, dtype=np.uint8).reshape(1000, 1000, 3)
    arrays = [whole, whole[::2, ::-1], whole[:3], np.asfortranarray(whole[..., 0])]
    for _ in range(2):  # the second finds what the first has left
        answer = here.loads(there.dumps([*arrays, "text", None]))
        assert all(np.array_equal(a, b) for a, b in zip(answer[:4], arrays, strict=True))
        assert answer[4:] == ["text", None]
    answer[0][0] = 7  # they are the receiver's own
    assert np.array_equal(here.loads(there.dumps(whole)), whole)


def test_large_arrays_stay_out_of_the_message(sides: tuple[SharedMemory, SharedMemory]) -> None:
    _, there = sides
    assert len(there.dumps(np.zeros(1 << 20))) < 1000
    assert pickle.loads(there.dumps(np.zeros(10)))[1] == [], "small ones do not"


def test_much_memory_is_given_back(sides: tuple[SharedMemory, SharedMemory]) -> None:
    here, there = sides
    here.loads(there.dumps(np.zeros(32 << 20, dtype=np.uint8)))
    assert os.fstat(here.descriptor).st_size < 1 << 16
