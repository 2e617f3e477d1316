"""Which errors are worth a second try: by their type."""

from __future__ import annotations

import pytest
import ray

from patchlight.storage.errors import LeaseLost, SchemaMismatch, StorageUnavailable
from patchlight.tasks.cluster.waiting import may_pass
from patchlight.tasks.common.errors import EncoderUnavailable, RayLost, ShapeError, UsageError

MAY = [
    StorageUnavailable("away"),
    OSError("no space"),
    MemoryError(),
    ray.exceptions.WorkerCrashedError(),
    ray.exceptions.RayTaskError("f", "", OSError("no space")),
]
MAY_NOT = [
    RayLost("gone"),
    LeaseLost("taken"),
    SchemaMismatch("old"),
    EncoderUnavailable("no"),
    ShapeError("3"),
    UsageError("no"),
    RuntimeError("a fault of ours"),
    ray.exceptions.RayTaskError("f", "", RuntimeError("a fault of ours")),
]


@pytest.mark.parametrize("error", MAY, ids=repr)
def test_it_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", MAY_NOT, ids=repr)
def test_it_does_not_pass(error: Exception) -> None:
    assert not may_pass(error)
