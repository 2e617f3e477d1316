"""Ray: starting or joining a cluster, and what it has."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from patchlight.tasks.cluster import raymessages, sweeper
from patchlight.tasks.cluster.rayfolder import private_folder
from patchlight.tasks.common import childenvironment
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.settings import Settings

logger = logging.getLogger("patchlight.cluster")

_WORKER_ENVIRONMENT = {
    # One thread a process: there is a process a CPU already.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
_AUTHENTICATION = (
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_ENABLE_K8S_TOKEN_AUTH",
)
"""What Ray reads of authentication from the environment."""

_MEBIBYTE = 1 << 20

_GIVE_UP_S = 20
"""How long processes of a private Ray look for its head after that ended; it never comes back.
Longer than an orderly end takes then, some 10 s: until it is over, Ray may end our process."""

_WORDS_STORE_MB = 256
"""Shared memory of a private Ray where only words, regions and vectors travel."""


@contextmanager
def ray_session(settings: Settings, workers: int, *, pictures: bool = False) -> Iterator[None]:
    """Hold a Ray session: the cluster of ``settings.ray_address``, or a private local one.

    A session that is already open in this process is used and left open. A private Ray does what
    it is told by those only who know its token, which is random, and its folder is this user's
    alone; it is removed in the end. A cluster is joined with the user's own ``RAY_AUTH_MODE``.

    Args:
        settings: where and how.
        workers: CPUs of a private cluster.
        pictures: whether pictures of pages are to travel, which are large.

    Raises:
        UsageError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    if settings.ray_address:
        with _own_authentication(), raymessages.in_our_log():
            with _said(settings.ray_address):
                ray.init(
                    address=settings.ray_address,
                    job_config=_installed_only(),
                    runtime_env=_runtime({}),
                    log_to_driver=False,
                )
            try:
                yield
            finally:
                ray.shutdown()
        return
    store_mb = settings.ray_object_store_mb or (None if pictures else _WORDS_STORE_MB)
    with ExitStack() as session:
        with _said("a private one"):
            folder = session.enter_context(private_folder(os.environ.get("RAY_TMPDIR")))
            session.enter_context(_swept(folder))
            session.enter_context(_own_authentication())
            session.enter_context(raymessages.in_our_log())
            session.callback(ray.shutdown)
            _start(folder, workers, store_mb)
        yield


@contextmanager
def _said(where: str) -> Iterator[None]:
    """Turn what fails into an error that says which Ray it was."""
    try:
        yield
    except Exception as error:  # a machine that is too busy raises just that
        raise UsageError(
            f"Ray cannot be started or reached ({where}): {error}; see PATCHLIGHT_RAY_ADDRESS"
        ) from error


@contextmanager
def _own_authentication() -> Iterator[None]:
    """Have Ray read anew how it is to authenticate, now and after the block.

    It remembers that for as long as the process lives: of another session, too. What it sets in
    the environment itself is taken back.
    """
    before = {name: os.environ.get(name) for name in _AUTHENTICATION}
    _read_authentication()
    try:
        yield
    finally:
        _set(before)
        _read_authentication()


def _read_authentication() -> None:
    # In this order: a thread of an old session that asks for a token finds that none is needed.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _set(variables: Mapping[str, str | None]) -> None:
    """Set variables of the environment, or remove them."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _token() -> Iterator[None]:
    """Give the processes started in the block, and Ray in this one, a token nobody else knows.

    Without one, whoever reaches a port of the machine can run code as this user. It is in the
    environment only: a command line, and most files, can be read by others.
    """
    before = {name: os.environ.get(name) for name in _AUTHENTICATION}
    _set({**dict.fromkeys(_AUTHENTICATION), "RAY_AUTH_MODE": "token"})
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        _read_authentication()
        yield
    finally:
        _set(before)


def _installed_only() -> JobConfig:
    """Have workers import what is installed where they are, and not from our current folder.

    Ray puts that first on their path, and what lies there, of whatever origin, would be taken for
    a library by its name. Ray leaves it out only for a job of its client, which this says we are;
    of a runtime environment, it then uploads no folders, and we send none.
    """
    return JobConfig(_client_job=True)


def _runtime(more: Mapping[str, str]) -> dict[str, Any]:
    variables = {k: os.environ.get(k, v) for k, v in _WORKER_ENVIRONMENT.items()}
    # Workers say as much as we do: --verbose reaches them by this.
    level = logging.getLogger("patchlight").getEffectiveLevel()
    name = "DEBUG" if level <= logging.DEBUG else "INFO"
    return {"env_vars": {**variables, "PATCHLIGHT_LOG_LEVEL": name, **more}}


def _start(folder: Path, workers: int, store_mb: int | None) -> None:
    # Pictures of pages that a killed worker was at work on go with Ray's folder.
    temporary = folder.with_name("temporary")
    temporary.mkdir()
    runtime = _runtime({"TMPDIR": str(temporary)})
    # Ray puts the path unquoted into a shell line, which a space in it breaks.
    runtime["py_executable"] = shlex.quote(sys.executable)
    with _token():
        ray.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            # None: a share of the machine's memory, which Ray chooses.
            object_store_memory=store_mb and store_mb * _MEBIBYTE,
            log_to_driver=False,
            logging_level=logging.WARNING,
            job_config=_installed_only(),
            runtime_env=runtime,
            _temp_dir=str(folder),
            # Processes beyond this number end after a second without work, and take seconds to
            # start: those that draw, pack and read would come and go.
            _system_config={
                "num_workers_soft_limit": 2 * workers + 4,
                "gcs_rpc_server_reconnect_timeout_s": _GIVE_UP_S,
            },
        )


@contextmanager
def _swept(folder: Path) -> Iterator[None]:
    """Have what is left of a private Ray ended after the block, also if this process is killed.

    The kernel ends ``raylet`` and ``gcs_server`` with us. Ray's agents, and workers that are
    about to start, would look for these for ``_GIVE_UP_S`` seconds more. Ray's folder is removed.
    """
    command = [sys.executable, "-I", "-S", sweeper.__file__, str(os.getpid()), str(folder.parent)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        env=childenvironment.with_more({}),
        start_new_session=True,  # Ctrl-C is meant for us
    ):
        yield


def resources() -> str:
    """Say what the cluster of the open session has."""
    found = ray.cluster_resources()
    return ", ".join(f"{found[name]:g} {name}" for name in ("CPU", "GPU") if name in found)
