"""The password file is read within bounds."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.documents.passwords import MAX_BYTES, read_passwords


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="regular file or a pipe"):
        read_passwords("/dev/null")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_passwords(str(path))


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"a.pdf:one\r\nb.pdf:two\n",))
    writer.start()
    assert read_passwords(str(path)) == {"a.pdf": "one", "b.pdf": "two"}
    writer.join()
