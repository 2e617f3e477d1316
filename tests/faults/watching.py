"""A process that asks a database questions all the time, and looks for half documents.

``python -m tests.faults.watching DB OUT`` until its standard input is closed. OUT gets a line of
JSON: the looks, and what was wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from patchlight.storage.database import Database
from patchlight.storage.errors import DatabaseNotFound
from patchlight.storage.records import RegionKind
from patchlight.tasks.answers.asking import ask
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.grounding.selection import Selection, SelectionRule
from patchlight.tasks.kernels.maxsim import TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from tests.faults.comparing import half_documents, unexplained_pages
from tests.faults.running import ROOT

QUESTIONS = (
    "how long does the battery of the watch last",
    "what did the airline say on Twitter after the accident",
    "how are documents summarised recursively into a tree",
    "register of vessels in the harbour",
    "total amount of the receipt",
)

_OPTIONS = RetrievalOptions(
    top_pages=3,
    top_regions=3,
    selection=Selection(SelectionRule.TOP_K, 3),
    region_aggregate=RegionAggregation.MAX,
    token_aggregate=TokenAggregation.MEAN,
    kinds=(RegionKind.BLOCK,),
)
_PAUSE_S = 1.0
_AGAIN_S = 0.3
_MOST_TOLD = 50


@dataclass(slots=True)
class Watched:
    """What was seen.

    Attributes:
        looks: at a database that is there.
        answers: questions that were answered with at least a page.
        most_documents: visible at once.
        changing: looks that found the database changing too fast.
        problems: what was wrong, each with the seconds since the start.
    """

    looks: int = 0
    answers: int = 0
    most_documents: int = 0
    changing: int = 0
    problems: list[str] = field(default_factory=list)


class Watcher:
    """The process, for the length of a block.

    Args:
        db: the database.
        out: file for what it saw.
    """

    def __init__(self, db: str, out: Path) -> None:
        self._db = db
        self._out = out

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.watching", self._db, str(self._out)]
        # It is to see, not to slow down what it looks at.
        self._process = subprocess.Popen(["nice", *command], cwd=ROOT, stdin=subprocess.PIPE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def seen(self) -> Watched:
        """Return what it saw; call it after the block."""
        if self._process.returncode:
            return Watched(problems=[f"the watcher ended with {self._process.returncode}"])
        return Watched(**json.loads(self._out.read_text(encoding="utf-8")))


def look(db: str, question: str, watched: Watched) -> list[str]:
    """Look once; returns what is wrong."""
    try:
        database = Database.open(db)
        asked = ask(db, question, _OPTIONS)
    except DatabaseNotFound:
        return []
    except InputError as error:
        watched.looks += 1
        return [] if "no page to search" in str(error) else [str(error)]
    watched.looks += 1
    watched.answers += bool(asked.answer.pages)
    catalog = asked.session.catalog
    watched.most_documents = max(watched.most_documents, len(set(catalog.doc_ids)))
    found = half_documents(asked.session.snapshot)
    if unexplained_pages(database):
        time.sleep(_AGAIN_S)
        found += unexplained_pages(database)
    return found


def _watch(db: str, ended: Callable[[], bool]) -> Watched:
    watched, start = Watched(), time.monotonic()
    number = 0
    while not ended():
        number += 1
        try:
            found = look(db, QUESTIONS[number % len(QUESTIONS)], watched)
        except Exception as error:  # whatever it is, a reader must not see it
            if "changes too fast" in str(error):
                watched.changing += 1
                found = []
            else:
                found = [f"{type(error).__name__}: {error}"]
        at = f"{time.monotonic() - start:.0f} s: "
        room = _MOST_TOLD - len(watched.problems)
        watched.problems += [at + problem for problem in found][: max(room, 0)]
        time.sleep(_PAUSE_S)
    return watched


def main() -> int:
    """Watch until standard input is closed."""
    db, out = sys.argv[1:]
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    watched = _watch(db, ended.is_set)
    Path(out).write_text(json.dumps(asdict(watched)) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
