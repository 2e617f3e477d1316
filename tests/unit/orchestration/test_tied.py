"""A command that is tied to its parent ends with it, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from patchlight.tasks.orchestration import tied

START = [sys.executable, "-I", "-S", tied.__file__]
PARENT = """
import os, subprocess, sys
command = [*sys.argv[1:], str(os.getpid()), sys.executable, "-c",
           "import os; print(os.getpid(), flush=True); input()"]
subprocess.Popen(command, stdin=subprocess.PIPE).wait()
"""


def test_the_command_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *START], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        command = psutil.Process(int(parent.stdout.readline()))
        assert tied.__file__ not in command.cmdline()  # it has become the command
        parent.kill()
    deadline = time.monotonic() + 10
    while command.is_running() and command.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_is_started_for_a_parent_that_has_ended() -> None:
    said = [sys.executable, "-c", "print('started')"]
    of_another = subprocess.run([*START, str(os.getppid()), *said], stdout=subprocess.PIPE)
    of_ours = subprocess.run([*START, str(os.getpid()), *said], stdout=subprocess.PIPE)
    assert (of_another.stdout, of_ours.stdout) == (b"", b"started\n")
