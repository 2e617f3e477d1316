"""Passwords of encrypted PDFs, from a file of patterns; none is ever in a message."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.documents.sources import FILE_SCHEME, to_uri

MAX_BYTES = 1024 * 1024  # a device or a wrong file must not fill the memory


def read_passwords(path: str) -> dict[str, str]:
    """Read a password file: one ``<name or pattern> <tab or colon> <password>`` a line.

    A pattern (``*``, ``?``, ``[...]``) is matched against a source's file name, path and
    ``file://`` URI. Empty lines and lines starting with ``#`` are skipped. Of two lines with one
    pattern the first counts.

    Raises:
        UsageError: the file cannot be read, is not a regular file, is larger than 1 MiB, or a
            line has no separator; the message names the line, never a password.
    """
    passwords: dict[str, str] = {}
    try:
        text = _read(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        # Not chained: that error holds all that was read.
        raise UsageError(f"{path}: the password file is not UTF-8; save it as that") from None
    except OSError as error:
        problem = f"{path}: the password file cannot be read ({error.strerror or error})"
        raise UsageError(problem) from error
    for number, line in enumerate(text.split("\n"), 1):  # other line breaks may be in a password
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = "\t" if "\t" in line else ":"
        scheme = FILE_SCHEME if line.lstrip().startswith(FILE_SCHEME) else ""
        pattern, found, password = line.lstrip().removeprefix(scheme).partition(separator)
        if not found or not pattern.strip():
            raise UsageError(f"{path}, line {number}: expected '<name or pattern>:<password>'")
        passwords.setdefault(scheme + pattern.strip(), password)
    return passwords


def _read(path: str) -> bytes:
    """Return the bytes of a password file, or raise UsageError; it never reads without bound."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        # It is read more than once, and a pipe is empty the second time.
        raise UsageError(f"{path}: the password file must be a regular file")
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path}: the password file is larger than 1 MiB; give a smaller one")
    return content


def password_for(path: str, passwords: Mapping[str, str]) -> str | None:
    """Return the password of the first pattern that fits a file, or None."""
    names = (os.path.basename(path), path, to_uri(path))  # noqa: PTH119 - a string is enough
    for pattern, password in passwords.items():
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return password
    return None
