"""A wall clock that processes see in place of the machine's: Debian's faketime, and a little more.

``CLOCK_REALTIME`` is faked; ``CLOCK_MONOTONIC`` and ``CLOCK_BOOTTIME`` are not, as nobody can set
them. ``clock.c`` says what is added and why.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

_LIBRARY = "libfaketimeMT.so.1"
_PLACES = ("/usr/lib", "/usr/local/lib", "/lib")
_SOURCE = Path(__file__).with_name("clock.c")
_DAY_S = 86400.0
_JUMP_S = 3.0
"""Longer than processes remember what the clock says."""
_LOOK_S = 0.3


class NoFakeClock(Exception):
    """Clocks cannot be faked on this machine; the message says why."""


class Clock(StrEnum):
    """What the wall clock says."""

    BEHIND = "behind"
    """Two days too little."""
    AHEAD = "ahead"
    """Two days too much."""
    JUMPING = "jumping"
    """Two days too little, right, two days too much, and so on, every 3 seconds."""


_OFFSETS = {
    Clock.BEHIND: ("-2d",),
    Clock.AHEAD: ("+2d",),
    Clock.JUMPING: ("-2d", "+0", "+2d"),
}


class FakeClock:
    """A clock for processes that are started with its environment.

    Args:
        folder: for its files; its path has no spaces and colons.

    Raises:
        NoFakeClock: faketime or a C compiler is missing, or they do not do what they should.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder.absolute() / "clock"
        self._set("+0")
        added = folder.absolute() / "clock.so"
        preload = f"{added}:{_library()}"
        if any(character in str(folder.absolute()) for character in ' :"\\'):
            raise NoFakeClock(f"no path of libraries to load may have spaces or colons: {folder}")
        _compile(added, self._file)
        self.environment = {"LD_PRELOAD": preload}
        """What a process is started with, beside the rest."""
        with self.showing(Clock.BEHIND):
            off_s = self._off_s()
        if abs(off_s + 2 * _DAY_S) > 60:
            raise NoFakeClock(f"a process under faketime was {off_s:.0f} s off, not two days")

    @contextmanager
    def showing(self, clock: Clock, may_jump: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Have the processes see this clock while the block runs.

        Args:
            clock: which.
            may_jump: asked again and again; the clock stays as it is at first until it says so.
        """
        ended = threading.Event()

        def jump() -> None:
            while not may_jump():
                if ended.wait(_LOOK_S):
                    return
            for offset in itertools.cycle(_OFFSETS[clock]):
                self._set(offset)
                if ended.wait(_JUMP_S):
                    return

        self._set(_OFFSETS[clock][0])
        jumping = threading.Thread(target=jump, name="clock")
        jumping.start()
        try:
            yield
        finally:
            ended.set()
            jumping.join()
            self._set("+0")

    def _set(self, offset: str) -> None:
        new = self._file.with_name("clock.new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)  # never half written

    def _off_s(self) -> float:
        """How far a process is off, which must also be able to sleep."""
        command = [sys.executable, "-c", "import time; time.sleep(0.01); print(time.time())"]
        environment = {**os.environ, **self.environment}
        try:
            asked = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or error
            raise NoFakeClock(f"Python does not run under faketime: {said}") from error
        return float(asked.stdout) - time.time()


def _library() -> Path:
    for place in _PLACES:
        for found in sorted(Path(place).glob(f"**/faketime/{_LIBRARY}")):
            return found
    raise NoFakeClock(
        f"{_LIBRARY} is not below {', '.join(_PLACES)}; 'apt-get install faketime' brings it"
    )


def _compile(library: Path, file: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoFakeClock("there is no C compiler (cc); 'apt-get install gcc libc6-dev' brings it")
    command = [compiler, "-shared", "-fPIC", "-O2", f'-DCLOCK_FILE="{file}"']
    made = subprocess.run(
        [*command, "-o", str(library), str(_SOURCE), "-ldl"], capture_output=True, text=True
    )
    if made.returncode:
        raise NoFakeClock(f"{_SOURCE.name} cannot be compiled: {made.stderr.strip()}")
