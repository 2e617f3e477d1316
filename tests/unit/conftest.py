"""What tests of checkpoints and vision encoders share, and those of the process for documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from patchlight.tasks.sandbox import calling as sandboxes
from patchlight.tasks.sandbox.calling import Sandbox

if TYPE_CHECKING:
    from tests.vision_examples import Shelf


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be offline, as by HF_HUB_OFFLINE=1, with an empty cache; returns the cache's folder."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture(scope="session")
def shelf_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny checkpoints, each of which is built once."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def shelf(shelf_root: Path) -> Iterator[Shelf]:
    """The checkpoints, with encoders of the module's own: a test may change what they have left."""
    from tests.vision_examples import Shelf

    shelf = Shelf(shelf_root)
    yield shelf
    for encoder in shelf.loaded.values():
        encoder.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """The one that this process has: to start another for each test would take long."""
    yield sandboxes._sandbox
    sandboxes._sandbox.close()
