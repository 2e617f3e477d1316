"""Prefect's temporary server, tied to this process.

Where no Prefect server is configured, Prefect starts a private one in a process of its own and
ends it when ours ends well. Killed, ours would leave it behind for ever; so here the kernel ends
it with us.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings

from patchlight.tasks.common import childenvironment
from patchlight.tasks.orchestration import tied

_INSTALLED = str(Path(prefect.__file__).parent.parent)
"""The folder Prefect is installed in."""


def start() -> None:
    """Start a temporary server, unless one is configured; Prefect uses it and ends it at exit.

    Call it from the main thread: the kernel ends the server with the thread that started it.

    Raises:
        RuntimeError: it does not start.
    """
    if not PREFECT_API_URL.value():
        _TiedServer().start()


class _TiedServer(SubprocessASGIServer):
    """Prefect's own, but for the command; there is one in a process, whoever asks for it."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        start = [sys.executable, "-I", "-S", tied.__file__, str(os.getpid())]
        # Uvicorn, as Python does, puts the current folder first on the path: any file there with
        # the name of a library would be run. So it is told another, which is on the path anyway.
        uvicorn = [sys.executable, "-P", "-m", "uvicorn", "--app-dir", _INSTALLED]
        server = ["--factory", "prefect.server.api.server:create_app"]
        place = ["--host", "127.0.0.1", "--port", str(self.port)]
        quiet = ["--log-level", "error", "--lifespan", "on"]
        return subprocess.Popen(
            [*start, *uvicorn, *server, *place, *quiet],
            env=childenvironment.with_more(
                {
                    **{k: v for k, v in os.environ.items() if k.startswith("PREFECT_")},
                    **get_current_settings().to_environment_variables(exclude_unset=True),
                    "PREFECT_UI_ENABLED": "0",
                    "PREFECT__SERVER_EPHEMERAL": "1",
                    "PREFECT__SERVER_FINAL": "1",
                }
            ),
            # Ctrl-C is meant for us: without its server, our flow waits minutes for it.
            start_new_session=True,
        )
