"""Notes which modules of patchlight a process passes; for ``benchmarks.walk``.

It is copied into a folder as ``sitecustomize.py``, so that every Python process that is started
with that folder on its path runs it first. It imports nothing of the project.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

_EVERY_S = 0.5
_OF_FUNCTIONS = 0x1
"""Set in the code of functions, not in that of modules and classes, which runs at import."""


def _module(code: CodeType, root: str, known: dict[CodeType, str]) -> str:
    """Name of the module that code is of, from the project's root; empty where it is another's."""
    if code not in known:
        known[code] = ""
        path = os.path.realpath(code.co_filename)
        if path.startswith(root + os.sep) and code.co_flags & _OF_FUNCTIONS:
            parts = Path(path).relative_to(root).with_suffix("").parts
            if parts[0] in {"flows", "tasks", "storage"}:
                known[code] = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return known[code]


def _watch(folder: str, root: str) -> None:
    first: dict[str, float] = {}
    calls: set[tuple[str, str]] = set()
    known: dict[CodeType, str] = {}
    notes = Path(folder) / f"{os.getpid()}-{time.time_ns()}.json"

    def called(frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        name = _module(frame.f_code, root, known)
        if not name:
            return
        first.setdefault(name, time.time())
        caller = frame.f_back
        while caller is not None and not _module(caller.f_code, root, known):
            caller = caller.f_back
        if caller is not None:
            by = _module(caller.f_code, root, known)
            if by != name:
                calls.add((by, name))

    def note() -> None:
        if first:
            text = json.dumps({"first": dict(first), "calls": sorted(calls.copy())})
            notes.write_text(text, "utf-8")

    def keep() -> None:
        # Again and again: a process may be killed, and then notes nothing at its end.
        while True:
            time.sleep(_EVERY_S)
            note()

    atexit.register(note)

    sys.setprofile(called)
    threading.setprofile(called)
    threading.Thread(target=keep, daemon=True).start()


class _FirstImport:
    """Begins to watch when a module of the project is imported: most of Ray's processes do not."""

    def find_spec(self, name: str, *_: object) -> None:
        """Find nothing, and begin where the name is ours."""
        if name.split(".")[0] in {"patchlight", "flows", "tasks", "storage"}:
            sys.meta_path.remove(self)
            _watch(os.environ["PATCHLIGHT_WALK"], os.environ["PATCHLIGHT_WALK_ROOT"])


if os.environ.get("PATCHLIGHT_WALK"):
    sys.meta_path.insert(0, _FirstImport())
