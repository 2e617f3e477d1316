"""The folder of a private Ray."""

from __future__ import annotations

import os
from pathlib import Path

from patchlight.tasks.cluster.rayfolder import private_folder


def test_it_is_the_users_alone_and_removed(tmp_path: Path) -> None:
    with private_folder("/tmp") as folder:
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        folder.mkdir(0o777)
        (folder / "log").touch()
    assert not folder.parent.exists()


def test_where_the_place_has_a_long_path_another_is_taken(tmp_path: Path) -> None:
    """The system refuses a socket with a path of more than 107 bytes."""
    place = tmp_path / ("long" * 20)
    place.mkdir()
    with private_folder(str(place)) as folder:
        session = f"session_2026-01-01_00-00-00_000000_{2**22}"
        assert len(os.fsencode(folder / session / "sockets" / "plasma_store")) <= 107
        assert not list(place.iterdir())
