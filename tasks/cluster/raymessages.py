"""What Ray has to say of its cluster, in our log.

Ray prints that a worker died or cannot be started to standard output, where results belong, and
``log_to_driver=False`` does not change that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray._private.worker as ray_worker

logger = logging.getLogger("patchlight.cluster")


@contextmanager
def in_our_log() -> Iterator[None]:
    """Have Ray's messages logged in the block: their first line as a warning, what follows below.

    What follows is Ray's own state, dozens of lines of it.
    """
    printing = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = _log
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = printing


def _log(data: Mapping[str, Any], *_: object, **__: object) -> None:
    for message in data["lines"]:
        first, *rest = str(message).strip().splitlines() or [""]
        logger.warning("Ray: %s", first)
        if rest:
            logger.debug("Ray: %s", "\n".join(rest))
