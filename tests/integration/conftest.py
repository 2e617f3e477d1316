"""One Prefect server, one Ray and one ingested database for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.database import Database
from patchlight.tasks.common.settings import Settings, set_environment_defaults
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder
from tests import analysed_examples

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
WORKERS = 2


def report_of(answer: object) -> dict[str, Any]:
    """What a flow that ended well returns: of its state, Prefect hands over the report."""
    assert isinstance(answer, dict), answer
    return answer


def run(*arguments: str) -> int:
    """Run a command in this process, which the engines may be open in; returns its exit code."""
    from patchlight.flows.__main__ import _run, app

    return _run(lambda: app(list(arguments), standalone_mode=False))


@pytest.fixture(scope="session")
def engines() -> Iterator[None]:
    """A temporary Prefect server and a private Ray, as long as the tests run."""
    set_environment_defaults()
    from prefect.testing.utilities import prefect_test_harness

    from patchlight.tasks.cluster import raysession

    with (
        prefect_test_harness(server_startup_timeout=180),
        raysession.ray_session(Settings(), WORKERS),
    ):
        yield


@pytest.fixture(scope="session")
def text_patch() -> Encoder:
    """The embedded encoder."""
    return registry.load(registry.describe("text-patch"))


@pytest.fixture
def empty_db(tmp_path: Path, text_patch: Encoder) -> Database:
    """A database for the embedded encoder with nothing in it."""
    return Database.create_or_open(tmp_path / "db", text_patch.info.identity)


@pytest.fixture
def database(empty_db: Database) -> Database:
    """The same, for modules that have no other."""
    return empty_db


@pytest.fixture
def encoder(text_patch: Encoder) -> Encoder:
    """The embedded encoder, for modules that have no other."""
    return text_patch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for documents."""
    place = tmp_path / "docs"
    place.mkdir()
    return place


@pytest.fixture(scope="session")
def sample_db(engines: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the sample documents."""
    from patchlight.flows.ingest import ingest

    db = str(tmp_path_factory.mktemp("samples") / "db")
    report = report_of(ingest(source=[str(EXAMPLES / "documents")], db=db))
    assert report["failures"] == []
    return db


@pytest.fixture(scope="session")
def analysed_db(text_patch: Encoder, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with what an analyst meets."""
    return analysed_examples.make(tmp_path_factory.mktemp("analysed"), text_patch)
