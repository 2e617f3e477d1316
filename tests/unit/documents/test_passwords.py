"""The password file is read within bounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.documents.passwords import MAX_BYTES, read_passwords


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="regular file"):
        read_passwords("/dev/null")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_passwords(str(path))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """It would be empty when it is read again, and the documents would be said to be locked."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="regular file"):
        read_passwords(str(path))
