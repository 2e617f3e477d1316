"""Where Prefect keeps its record when the home folder cannot be written to."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from patchlight.tasks.common.settings import set_environment_defaults


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is taken where nothing is in the way; the home folder is none."""
    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))
    # What is set in the test is taken back, also where nothing was set before.
    monkeypatch.setenv("PREFECT_HOME", "")
    monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"patchlight-prefect-{os.getuid()}"


def chosen() -> Path:
    """The folder, which must be this user's alone and no link."""
    set_environment_defaults()
    folder = Path(os.environ["PREFECT_HOME"])
    found = folder.lstat()
    assert stat.S_ISDIR(found.st_mode)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.getuid(), 0o700)
    return folder


def test_it_is_made_once_and_found_again(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() == usual
    (usual / "record").touch()
    monkeypatch.delenv("PREFECT_HOME")
    assert chosen() == usual
    assert (usual / "record").exists()


def test_it_is_closed_where_others_could_read_it(usual: Path) -> None:
    usual.mkdir()
    usual.chmod(0o777)
    assert chosen() == usual


def test_a_link_with_its_name_is_not_followed(usual: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    usual.symlink_to(tmp_path / "elsewhere")
    assert chosen().parent == tmp_path
    assert chosen() not in {usual, tmp_path / "elsewhere"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(usual: Path) -> None:
    usual.mkdir()
    os.chown(usual, 12345, 12345)
    assert chosen() != usual


def test_what_the_user_set_stays(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/the/users/own")
    set_environment_defaults()
    assert os.environ["PREFECT_HOME"] == "/the/users/own"
    assert not usual.exists()
