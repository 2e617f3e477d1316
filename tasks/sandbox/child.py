"""What runs in the process that reads documents: it waits for functions, and runs them.

Damaged or hostile files may make it hang, crash or fill the memory; its parent
(``tasks.sandbox.parent``) then kills it. That, and to open no connection, is all it is for: what
takes control of it can do what its user can.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import NoReturn

from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.errors import Stage
from patchlight.tasks.sandbox import stagewatch
from patchlight.tasks.sandbox.parent import MALLOC, Call, Said
from patchlight.tasks.sandbox.sharedmemory import SharedMemory

_PR_SET_PDEATHSIG = 1
_NETWORK = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendmsg",
        "socket.sendto",
    }
)
"""Audit events of everything that reaches another machine or process by a socket."""


def main() -> NoReturn:
    """Serve the process that started this one until it goes away."""
    connection, shared = Connection(int(sys.argv[1])), SharedMemory(int(sys.argv[2]))
    parent = int(sys.argv[3])
    signal.signal(signal.SIGTERM, _end)
    _die_with(parent, signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold passwords
    sys.addaudithook(_refuse_network)
    for name in MALLOC:  # it has had its effect here, and Tesseract gives memory back as it ends
        os.environ.pop(name, None)
    try:
        importlib.import_module(sys.argv[4])
    except BaseException as error:
        connection.send_bytes(shared.dumps((Said.RAISED, error)))
        raise
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    connection.send_bytes(shared.dumps((Said.READY, most)))

    def entered(stage: Stage, ocr_timeout_s: int) -> None:
        # A handler can end Tesseract too, but does not run while a library is at work.
        _die_with(parent, signal.SIGTERM if ocr_timeout_s else signal.SIGKILL)
        _keep_folder(bool(ocr_timeout_s))
        shared.note(stage, ocr_timeout_s)

    stagewatch.watched_by(entered)
    while True:
        _die_with(parent, signal.SIGTERM)
        try:
            request = connection.recv_bytes()
        except (EOFError, OSError):
            _end()
        _die_with(parent, signal.SIGKILL)
        connection.send_bytes(_answer(shared, request))


def _answer(shared: SharedMemory, request: bytes) -> bytes:
    """Run what was asked for; return how it ended, pickled."""
    try:
        call: Call = pickle.loads(request)
        function, args, data_bytes = call
        _bound_memory(data_bytes)
        return shared.dumps((Said.RETURNED, function(*args)))
    except Exception as error:
        return _raised(shared, error)


def _raised(shared: SharedMemory, error: Exception) -> bytes:
    """Pickle an exception; one that cannot cross is described by one that can."""
    cause = tracebacks.full(error), tracebacks.short(error)  # which does not cross with it
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # e.g. its constructor wants other arguments than it keeps
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return shared.dumps((Said.RAISED, error, *cause))


def _bound_memory(data_bytes: int) -> None:
    """Have the system refuse more memory to this process, and to each that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = data_bytes if hard == resource.RLIM_INFINITY else min(data_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent is gone."""
    _prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0)
    if os.getppid() != parent:  # it was gone before
        _end()


def _refuse_network(event: str, args: tuple[object, ...]) -> None:
    """Audit hook: a document must not make this process talk to anybody."""
    if event in _NETWORK:
        raise PermissionError(f"{event}: the process that reads documents may open no connections")


def _folder() -> str:
    """Path of the folder for temporary files, which only this process and Tesseract use."""
    return os.environ["TMPDIR"]


def _keep_folder(wanted: bool) -> None:
    """Make the folder, or remove it with what is in it."""
    if wanted:
        Path(_folder()).mkdir(0o700, exist_ok=True)
        tempfile.tempdir = _folder()
    elif tempfile.tempdir:
        shutil.rmtree(_folder(), ignore_errors=True)
        tempfile.tempdir = None


def _end(number: int = 0, frame: FrameType | None = None) -> NoReturn:
    """End this process and all that it has started, and leave no files."""
    _keep_folder(False)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


_prctl = ctypes.CDLL(None).prctl
