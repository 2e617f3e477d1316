"""One setting says how an object store is reached; what opens tables uses it, and hides it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from patchlight.storage.engine import open_table
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.objectstore import STORAGE_OPTIONS
from patchlight.storage.schema import Table
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.settings import load_settings

SECRET = "wxyz0123"
NOTHING = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"


class Store(BaseHTTPRequestHandler):
    """An object store that has nothing, and keeps who asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        self.send_response(200)
        self.send_header("Content-Length", str(len(NOTHING)))
        self.end_headers()
        self.wfile.write(NOTHING)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[tuple[str, list[str]]]:
    """Address of a store, and the signatures of the requests that it got."""
    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Own", (Store,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_tables_are_opened_with_the_options_of_the_environment(
    store: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = store
    options = (
        f'{{"aws_endpoint": "{address}", "allow_http": "true", "aws_region": "eu-west-1", '
        f'"aws_access_key_id": "me", "aws_secret_access_key": "{SECRET}"}}'
    )
    monkeypatch.setenv(STORAGE_OPTIONS, options)
    assert open_table("s3://bucket/db", Table.META) is None
    assert asked and all("Credential=me/" in header for header in asked)


@pytest.mark.parametrize("text", [f'"{SECRET}"', f'{{"key": {SECRET}', f'{{"{SECRET}": 1}}', "[1]"])
def test_what_is_no_object_of_texts_is_refused_without_showing_it(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE_OPTIONS, text)
    for refused, what in (
        (pytest.raises(UsageError, match=f"^{STORAGE_OPTIONS}: it "), load_settings),
        (
            pytest.raises(StorageUnavailable, match=STORAGE_OPTIONS),
            lambda: open_table("/none", Table.META),
        ),
    ):
        with refused as told:
            what()
        error: BaseException | None = told.value
        while error is not None:
            assert SECRET not in str(error) and SECRET not in repr(error)
            error = error.__cause__


def test_the_settings_do_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORAGE_OPTIONS, f'{{"key": "{SECRET}"}}')
    settings = load_settings()
    assert settings.storage_options == {"key": SECRET}
    assert SECRET not in repr(settings)
    monkeypatch.setenv(STORAGE_OPTIONS, "")
    assert load_settings().storage_options == {}
