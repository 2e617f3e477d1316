"""The log: no name or message may pass for a line of it, or steer the terminal that shows it."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from patchlight.tasks.common import console
from patchlight.tasks.common.safetext import escaped, plain

EVIL = (
    "a\x1b[2J\x1b]0;title\x07b\n2026-01-01 00:00:00,000 ERROR   fake\r"
    "\x9b\u202egnp\u2028\udce9 [bold]"
)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The program's logger; what set_up_logging changes is put back."""
    root, own = logging.getLogger(), logging.getLogger("patchlight")
    before = root.handlers[:], root.level, own.level
    yield logging.getLogger("patchlight.test")
    root.handlers[:], root.level = before[0], before[1]
    own.setLevel(before[2])
    logging.captureWarnings(False)


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_a_message_is_one_line_that_steers_nothing(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "500")
    console.set_up_logging("INFO")
    logger.warning("%s: cannot be read", EVIL)
    logged = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # colours of the terminal's handler
    [line] = logged.splitlines()
    assert line.isprintable()
    assert "a\\x1b[2J" in line and "b\\n2026-01-01" in line and "[bold]" in line
    assert "\\x9b\\u202egnp\\u2028\\udce9" in line and line.rstrip().endswith("cannot be read")


def test_a_traceback_is_indented_so_that_no_line_of_it_passes_for_a_message(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    console.set_up_logging("DEBUG")
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        logger.debug("internal error", exc_info=error)
    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert first.endswith("internal error")
    assert any("fake" in line for line in others)
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_text_to_be_told_from_others_keeps_what_is_in_it() -> None:
    assert escaped("Kai — 船 ü") == plain("Kai — 船 ü") == "Kai — 船 ü"
    assert escaped("a\nb\x1b\u202e\udce9") == "a\\nb\\x1b\\u202e\\udce9"
    assert plain("a\nb\x1b\u202e\udce9") == "a b  "
