"""Telling who watches the work on a page which stage it enters.

What reads documents may hang or die at any step. It says before each where it is, so that
whoever started it knows then; see ``tasks.sandbox.calling``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from patchlight.tasks.common.errors import Stage

Watcher = Callable[[Stage, int], None]
"""Is called with the stage, and the seconds that Tesseract may take from now; 0 without it."""


def _nobody(stage: Stage, ocr_timeout_s: int) -> None:
    pass


_watcher: Watcher = _nobody


def watched_by(watcher: Watcher) -> None:
    """Have a function called at every step of this process from now on."""
    global _watcher
    _watcher = watcher


def enter(stage: Stage) -> None:
    """Say that the work on a stage begins."""
    _watcher(stage, 0)


@contextmanager
def in_tesseract(timeout_s: int) -> Iterator[None]:
    """Say for a block that Tesseract is at work, and how long it may be."""
    _watcher(Stage.WORDS, timeout_s)
    try:
        yield
    finally:
        _watcher(Stage.WORDS, 0)
