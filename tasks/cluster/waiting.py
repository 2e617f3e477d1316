"""Waiting for work on Ray, as long as there is a Ray: a private one may be lost at any time."""

from __future__ import annotations

from typing import Any

import ray

from patchlight.storage.errors import PatchlightError
from patchlight.tasks.cluster.telling import print_what_it_has_along, taken
from patchlight.tasks.common.errors import RayLost
from patchlight.tasks.common.tracebacks import SHORT, Elsewhere

_LOOK_S = 1.0
"""How often a wait looks whether Ray is still there."""

_VITAL = ("gcs_server", "raylet")
"""Ray goes on without its other processes."""


def check_alive() -> None:
    """Make sure that no vital process of a private Ray has ended.

    Without this a run would notice in 15 to 60 seconds, take the loss for damaged pages
    meanwhile, and then be ended by Ray's core without a word.

    Raises:
        RayLost: one has.
    """
    node = ray._private.worker._global_node  # None where the cluster is not ours
    dead = {name for name, _ in node.dead_processes()} if node else set()
    for name in _VITAL:
        if name in dead:
            raise RayLost(
                f"Ray is gone: its process {name} ended, perhaps killed for lack of memory. "
                "What was committed stays. Run it again, with fewer --workers if memory is short"
            )


def wait(calls: list[Any], timeout_s: float | None = None) -> bool:
    """Wait until calls have ended, well or not.

    Args:
        calls: what Ray returned for them.
        timeout_s: how long at most; None for as long as it takes.

    Returns:
        Whether all have ended.

    Raises:
        RayLost: Ray is gone.
    """
    left = timeout_s
    while True:
        look = _LOOK_S if left is None else min(left, _LOOK_S)
        if not ray.wait(calls, num_returns=len(calls), timeout=look, fetch_local=False)[1]:
            return True
        check_alive()
        if left is not None and (left := left - look) <= 0:
            return False


def get(calls: Any) -> Any:
    """Wait for results; what the work raised for a reason of its own is raised as it was.

    Raises:
        RayLost: Ray is gone.
    """
    wait(calls if isinstance(calls, list) else [calls])
    try:
        found = ray.get(calls)
    except ray.exceptions.RayTaskError as error:
        print_what_it_has_along(error.cause)
        # One that came from a call in a call has no text of its own.
        text = getattr(error, "traceback_str", str(error))
        there = Elsewhere(text, getattr(error.cause, SHORT, ""))
        if isinstance(error.cause, (PatchlightError, ValueError)):
            raise error.cause from there
        check_alive()
        raise error from there
    except ray.exceptions.RayError:
        check_alive()  # what looks like the death of one worker may be that of all
        raise
    return [taken(one) for one in found] if isinstance(found, list) else taken(found)


def may_pass(error: BaseException | None) -> bool:
    """Whether what failed may go well a moment later: by the type of the error.

    Ours say so themselves. Of others, the system's and Ray's own may pass; what a worker raised
    is judged by what it was.
    """
    if isinstance(error, PatchlightError):
        return error.retryable
    if isinstance(error, ray.exceptions.RayTaskError):
        return may_pass(error.cause)
    return isinstance(error, OSError | MemoryError | ray.exceptions.RayError)
