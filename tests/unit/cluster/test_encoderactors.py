"""What is said of an encoder's process that died: what Ray knows, and no guess."""

from __future__ import annotations

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)

from patchlight.tasks.cluster.encoderactors import WORKER_DEATHS, why_died

GONE = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR "
    "Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
)
GUESSES = (
    " Some common causes include: (1) the process was killed by the OOM killer due to high memory "
    "usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV "
    "or another unexpected error."
)
"""As Ray 2.60 says it of a process that a signal, ``os._exit`` or a crash ended."""

MEMORY = "it may need more memory than there is"


def died(message: str) -> ActorDiedError:
    return ActorDiedError(
        ActorDiedErrorContext(error_message=message, actor_id=b"0" * 16, class_name="Encoder")
    )


@pytest.mark.parametrize(
    "death",
    [
        OutOfMemoryError("Task was killed."),
        died("2 worker(s) were killed due to the node running low on memory.\nRefer to the docs."),
        died("The process was ended by SIGKILL." + GUESSES),
    ],
    ids=repr,
)
def test_lack_of_memory_is_named_where_ray_says_so(death: Exception) -> None:
    assert why_died(death) == MEMORY


@pytest.mark.parametrize(
    ("death", "said"),
    [
        (died(GONE + GUESSES), GONE),  # a segmentation fault, e.g.
        (died("The node is gone.\n\n"), "The node is gone."),
        (WorkerCrashedError(), "The worker died unexpectedly while executing this task."),
        (ActorUnavailableError("Socket closed", b"0" * 16), "Socket closed"),
        (NodeDiedError("The node was drained."), "The node was drained."),
    ],
    ids=repr,
)
def test_of_another_death_it_says_what_ray_says_and_nothing_of_memory(
    death: Exception, said: str
) -> None:
    assert isinstance(death, WORKER_DEATHS)
    why = why_died(death)
    assert said in why and "memory" not in why and "common causes" not in why
    assert "\n" not in why


def test_what_ray_says_is_shortened() -> None:
    assert len(why_died(died("word " * 1000))) < 300


def test_what_the_work_raised_itself_is_not_in_it() -> None:
    """Its message may be text of a document."""
    raised = RayTaskError("__init__", "ValueError: text of a document", ValueError("text"))
    why = why_died(ActorDiedError(raised))
    assert "text" not in why and "memory" not in why
