"""What the processes that we start find in their environment: a list of what they may.

The environment of a flow holds secrets: the token of Ray, credentials of an object store, of
Prefect, and whatever else the user has set. A process that opens documents, which may be hostile,
needs none of them. So each process gets what is on this list and nothing else. The exceptions
work as the user does: Ray's own processes, and Prefect's temporary server, which gets the settings
of Prefect, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from patchlight.storage.objectstore import STORAGE_OPTIONS

_NAMES = frozenset(
    {
        # The place: programs, home, language, time zone, temporary files.
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TZDIR",
        "TMPDIR",
        # How programs find their libraries, and get memory.
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "GLIBC_TUNABLES",
        # Tesseract's data.
        "TESSDATA_PREFIX",
        # Telemetry stays off.
        "DO_NOT_TRACK",
        "ORT_DISABLE_TELEMETRY",
    }
)

_PREFIXES = (
    "LC_",
    "MALLOC_",
    "PYTHON",
    "PATCHLIGHT_",
    # Threads of numerical libraries: OpenMP and its makers', BLAS.
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
)

_SECRETS = frozenset({STORAGE_OPTIONS})
"""On the list by their prefix, but they may hold keys."""


def with_more(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process to be started.

    Args:
        more: what it gets besides; wins over what is set in ours.
    """
    allowed = {
        name: value
        for name, value in os.environ.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and name not in _SECRETS
    }
    return {**allowed, **more}
