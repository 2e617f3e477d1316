"""Ray: starting or joining a cluster, and what it has."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray

from tasks.cluster import sweeper
from tasks.common.errors import UsageError
from tasks.common.settings import Settings

logger = logging.getLogger("patchlight.cluster")

_WORKER_ENVIRONMENT = {
    # One thread a process: there is a process a CPU already.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
_MEBIBYTE = 1 << 20

_GIVE_UP_S = 20
"""How long processes of a private Ray look for its head after that ended; it never comes back.
Longer than an orderly end takes then, some 10 s: until it is over, Ray may end our process."""

_WORDS_STORE_MB = 256
"""Shared memory of a private Ray where only words, regions and vectors travel."""


@contextmanager
def ray_session(settings: Settings, workers: int, *, pictures: bool = False) -> Iterator[None]:
    """Hold a Ray session: the cluster of ``settings.ray_address``, or a private local one.

    A session that is already open in this process is used and left open.

    Args:
        settings: where and how.
        workers: CPUs of a private cluster.
        pictures: whether pictures of pages are to travel, which are large.

    Raises:
        UsageError: the cluster cannot be reached.
    """
    store_mb = settings.ray_object_store_mb or (None if pictures else _WORDS_STORE_MB)
    if ray.is_initialized():
        yield
        return
    with nullcontext() if settings.ray_address else _swept():
        try:
            _start(settings, workers, store_mb)
        except Exception as error:  # a machine that is too busy raises just that
            where = settings.ray_address or "a private one"
            raise UsageError(
                f"Ray cannot be started or reached ({where}): {error}; see PATCHLIGHT_RAY_ADDRESS"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _start(settings: Settings, workers: int, store_mb: int | None) -> None:
    runtime: dict[str, Any] = {
        "env_vars": {k: os.environ.get(k, v) for k, v in _WORKER_ENVIRONMENT.items()}
    }
    if settings.ray_address:
        ray.init(address=settings.ray_address, runtime_env=runtime, log_to_driver=False)
        return
    # Ray puts the path unquoted into a shell line, which a space in it breaks.
    runtime["py_executable"] = shlex.quote(sys.executable)
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        # None: a share of the machine's memory, which Ray chooses.
        object_store_memory=store_mb and store_mb * _MEBIBYTE,
        log_to_driver=False,
        logging_level=logging.WARNING,
        runtime_env=runtime,
        # Processes beyond this number end after a second without work, and take seconds to start:
        # those that draw, pack and read would come and go.
        _system_config={
            "num_workers_soft_limit": 2 * workers + 4,
            "gcs_rpc_server_reconnect_timeout_s": _GIVE_UP_S,
        },
    )


@contextmanager
def _swept() -> Iterator[None]:
    """Have what is left of a private Ray ended after the block, also if this process is killed.

    The kernel ends ``raylet`` and ``gcs_server`` with us. Ray's agents, and workers that are
    about to start, would look for these for ``_GIVE_UP_S`` seconds more.
    """
    command = [sys.executable, "-I", "-S", sweeper.__file__, str(os.getpid())]
    # A session of its own: Ctrl-C is meant for us.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield


def resources() -> str:
    """Say what the cluster of the open session has."""
    found = ray.cluster_resources()
    return ", ".join(f"{found[name]:g} {name}" for name in ("CPU", "GPU") if name in found)
