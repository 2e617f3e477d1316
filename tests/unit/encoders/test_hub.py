"""Guards checkpoints of the hub: what its cache holds, what is fetched, and what it refuses.

The hub is a small server on this machine that speaks as much of its protocol as downloads need;
what talks to it is the hub's own library.
"""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from patchlight.tasks.encoders import hub
from patchlight.tasks.encoders.checkpoints import resolve
from tests.checkpoint_examples import (
    COMMIT,
    LATER,
    adapter,
    arrays,
    model,
    refusal,
    save,
    save_shards,
)

pytestmark = pytest.mark.usefixtures("no_network")


def cached(cache: Path, repo: str, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """Make the folder of a snapshot as it lies in the hub's cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    if ref:
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / ref).write_text(commit)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


@pytest.mark.parametrize("suffix", ["", "@main", f"@{COMMIT}"])
def test_what_is_in_the_cache_is_had_offline(suffix: str, no_network: Path) -> None:
    snapshot = model(cached(no_network, "x/y"))
    found = resolve(f"x/y{suffix}")
    assert (found.name, found.folder) == (f"x/y@{COMMIT}", snapshot)


def test_a_pinned_commit_is_not_the_newest(no_network: Path) -> None:
    old = model(cached(no_network, "x/y", COMMIT, None))
    new = model(cached(no_network, "x/y", LATER), weights={**arrays(), "extra": np.ones(1, "f4")})
    assert resolve(f"x/y@{COMMIT}").folder == old
    assert resolve("x/y").folder == new
    assert resolve("x/y").digest != resolve(f"x/y@{COMMIT}").digest


def test_a_snapshot_and_a_copy_of_it_are_the_same(no_network: Path, tmp_path: Path) -> None:
    snapshot = model(cached(no_network, "x/y"))
    blobs = tmp_path / "cache" / "models--x--y" / "blobs"
    blobs.mkdir()
    for file in sorted(snapshot.iterdir()):  # as the hub's library keeps them
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    copy = shutil.copytree(snapshot, tmp_path / "copy")
    of_copy, of_hub = resolve(str(copy)), resolve("x/y")
    assert replace(of_copy, name=of_hub.name, folder=snapshot) == of_hub


def test_an_adapter_and_its_base_in_the_cache(no_network: Path) -> None:
    """The revision that the adapter names is the base's."""
    base = model(cached(no_network, "x/base", COMMIT, None))
    model(cached(no_network, "x/base", LATER))
    lora = adapter(cached(no_network, "x/lora", LATER), "x/base", revision=COMMIT)
    found = resolve("x/lora")
    assert found.name == f"x/lora@{LATER}+x/base@{COMMIT}"
    assert (found.folder, found.base) == (lora, base)


@pytest.mark.parametrize("suffix", ["", f"@{COMMIT}"])
def test_what_is_not_in_the_cache_says_how_to_get_it(suffix: str) -> None:
    message = refusal(f"vidore/colSmol-256M{suffix}")
    at = f" --revision {COMMIT}" if suffix else ""
    assert f"hf download vidore/colSmol-256M{at} --local-dir colSmol-256M;" in message
    assert "base model" in message and "HF_HUB_OFFLINE" in message


def test_a_part_in_the_cache_is_not_a_checkpoint(no_network: Path) -> None:
    """Other programs fetch configurations alone."""
    (model(cached(no_network, "x/y")) / "model.safetensors").unlink()
    assert "hf download x/y" in refusal("x/y")


class FakeHub:
    """A hub that holds folders; ``refuses`` is a status and an error code for every file.

    A status of 500 is the answer to everything.

    Attributes:
        heads: repository -> commit of its main branch.
        folders: repository and commit -> the files.
        asked: paths of all requests.
    """

    def __init__(self) -> None:
        self.heads: dict[str, str] = {}
        self.folders: dict[tuple[str, str], Path] = {}
        self.refuses: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def put(self, repo: str, folder: Path, commit: str = COMMIT) -> None:
        self.heads[repo] = commit
        self.folders[repo, commit] = folder

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        self.asked.append(path)
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        head = self.heads.get(repo)
        rest = path.partition(repo)[2]
        commit = rest.split("/")[2] if rest.count("/") > 1 else ""
        commit = head if commit in ("", "main") and head else commit
        folder = self.folders.get((repo, commit))
        if head is None:
            self.reply(request, 401, b"", {"X-Error-Code": "RepoNotFound"})
        elif folder is None:
            self.reply(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif repo in self.refuses and ("/resolve/" in path or self.refuses[repo][0] == 500):
            status, code = self.refuses[repo]
            self.reply(request, status, b"", {"X-Error-Code": code})
        elif "/resolve/" in path:
            name = path.partition(f"/resolve/{commit}/")[2]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{commit[:8]}-{Path(name).name}"'}
            self.reply(request, 200, (folder / name).read_bytes(), headers)
        elif "/tree/" in path:
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            listing = [
                {
                    "type": "file",
                    "path": file.relative_to(folder).as_posix(),
                    "size": file.stat().st_size,
                    "oid": f"{commit[:8]}-{file.name}",
                }
                for file in files
            ]
            self.reply(request, 200, json.dumps(listing).encode())
        else:
            self.reply(request, 200, json.dumps({"id": repo, "sha": commit}).encode())

    @staticmethod
    def reply(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def serve_at(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be online, with the hub at a port of this machine; what HF_ENDPOINT sets at the start."""
    url = f"http://127.0.0.1:{port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(constants.ENDPOINT, url)
    )
    monkeypatch.setattr(constants, "ENDPOINT", url)


@pytest.fixture
def fake_hub(no_network: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    hub = FakeHub()
    serve_at(hub.server.server_port, monkeypatch)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def test_a_checkpoint_is_fetched_once(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only safetensors and configurations; then it is there without the hub."""
    served = model(tmp_path / "served")
    for name in ("pytorch_model.bin", "modeling_x.py", "model.onnx", "README.md"):
        (served / name).write_bytes(b"x")
    (served / "1_Dense").mkdir()  # a part of another form of the model
    save(served / "1_Dense" / "model.safetensors", arrays())
    fake_hub.put("x/y", served)
    found = resolve("x/y")
    assert found.name == f"x/y@{COMMIT}"
    assert sorted(file.name for file in found.folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert resolve(str(served)).digest == found.digest
    fake_hub.asked.clear()
    assert resolve(found.name) == found
    assert fake_hub.asked == []  # a commit cannot change
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("x/y") == found


def test_a_name_without_a_revision_is_the_newest_there_is(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.put("x/y", model(tmp_path / "old"))
    first = resolve("x/y")
    fake_hub.put("x/y", model(tmp_path / "new", hidden=9), LATER)
    second = resolve("x/y")
    assert (first.name, second.name) == (f"x/y@{COMMIT}", f"x/y@{LATER}")
    assert resolve(first.name) == first
    fake_hub.server.shutdown()
    fake_hub.server.server_close()
    assert resolve("x/y") == second  # from the cache
    message = refusal("x/z")
    assert "there is no folder" in message
    assert message.index("the hub cannot be reached, and x/z is not") < message.index("Error")


def test_an_adapter_is_fetched_with_its_base(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.put("x/base", model(tmp_path / "base"), LATER)
    fake_hub.put("x/lora", adapter(tmp_path / "lora", "x/base"))
    found = resolve("x/lora")
    assert found.base is not None
    assert (found.folder.name, found.base.name) == (COMMIT, LATER)
    assert found.name == f"x/lora@{COMMIT}+x/base@{LATER}"


def test_a_pinned_adapter_stays_what_it_is(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A move of the base's main branch changes nothing, and nothing is asked."""
    fake_hub.put("x/base", model(tmp_path / "base"))
    fake_hub.put("x/lora", adapter(tmp_path / "lora", "x/base"))
    first = resolve("x/lora")
    fake_hub.put("x/base", model(tmp_path / "moved", hidden=9), LATER)
    fake_hub.asked.clear()
    assert resolve(first.name) == first
    assert resolve(f"x/lora@{COMMIT}") == first  # the base that the cache knows
    assert fake_hub.asked == []
    second = resolve("x/lora")
    assert second.name == f"x/lora@{COMMIT}+x/base@{LATER}"
    assert second.digest != first.digest
    assert resolve(f"x/lora+x/base@{COMMIT}") == first
    assert resolve("x/lora+x/base@main") == second
    assert resolve(f"x/lora@{COMMIT}+x/base") == second
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (resolve(first.name), resolve(second.name)) == (first, second)
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert resolve(first.name) == first  # fetched anew


def test_the_base_of_a_folder_is_pinned(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.put("x/base", model(tmp_path / "served"))
    lora = adapter(tmp_path / "a+b" / "lora", "x/base")
    found = resolve(str(lora))
    assert found.name == f"{lora}+x/base@{COMMIT}"
    fake_hub.put("x/base", model(tmp_path / "moved", hidden=9), LATER)
    fake_hub.asked.clear()
    assert resolve(found.name) == found
    assert fake_hub.asked == []
    assert resolve(str(lora)).name == f"{lora}+x/base@{LATER}"
    model(lora.parent / "base")  # beside it: no hub is needed
    assert resolve(str(lora)).name == str(lora)


def test_a_base_that_does_not_belong(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.put("x/base", model(tmp_path / "base"))
    fake_hub.put("x/lora", adapter(tmp_path / "lora", "x/base"))
    fake_hub.put("x/bare", adapter(tmp_path / "bare", "x/lora"))
    assert "leave out +x/base" in refusal("x/base+x/base")
    assert "it adapts x/base, not x/lora" in refusal("x/lora+x/lora")
    assert "x/lora is an adapter itself" in refusal("x/bare")
    assert "its base model: x/base has no revision v9" in refusal("x/lora+x/base@v9")
    assert "no such folder" in refusal("x/lora+x/base@../y")
    (tmp_path / "base" / "config.json").unlink()
    fake_hub.put("x/base", tmp_path / "base", LATER)
    assert "x/base holds no config.json" in refusal("x/lora")


def test_a_part_in_the_cache_is_completed(
    fake_hub: FakeHub, tmp_path: Path, no_network: Path
) -> None:
    snapshot = model(cached(no_network, "x/y"))
    save_shards(snapshot, arrays())
    fake_hub.put("x/y", Path(shutil.copytree(snapshot, tmp_path / "served")))
    (snapshot / "model-00001-of-00002.safetensors").unlink()
    assert resolve(f"x/y@{COMMIT}").folder == snapshot
    assert (snapshot / "model-00001-of-00002.safetensors").exists()


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json"])
def test_a_processor_that_is_not_in_the_cache_is_fetched(
    file: str, fake_hub: FakeHub, tmp_path: Path, no_network: Path
) -> None:
    snapshot = model(cached(no_network, "x/y"))
    fake_hub.put("x/y", Path(shutil.copytree(snapshot, tmp_path / "served")))
    (snapshot / file).unlink()
    assert resolve(f"x/y@{COMMIT}").folder == snapshot
    (tmp_path / "served" / file).unlink()
    fake_hub.put("x/y", tmp_path / "served", LATER)
    assert f"lacks {file}" in refusal("x/y").replace("processor_config.json or ", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x/gated", "accept it on its page of the hub, then hf auth login"),
        ("x/none", "check the name, or hf auth login"),
        ("x/y@v9", "x/y has no revision v9"),
        ("x/broken", "the hub answers with an error, and x/broken is not"),
        ("x/down", "fetching failed, and x/down is not"),
        ("x/down", "hf download x/down"),
        ("x/lora", "accept it on its page of the hub"),
    ],
)
def test_what_the_hub_refuses(fake_hub: FakeHub, name: str, reason: str, tmp_path: Path) -> None:
    for repo in ("x/gated", "x/y", "x/down", "x/broken"):
        fake_hub.put(repo, model(tmp_path / "served"))
    fake_hub.put("x/lora", adapter(tmp_path / "lora", "x/gated"))
    fake_hub.refuses = {
        "x/gated": (403, "GatedRepo"),
        "x/down": (403, "Forbidden"),
        "x/broken": (500, ""),
    }
    message = refusal(name)
    assert reason in message
    if name == "x/lora":
        assert "its base model is not at" in message and "x/gated" in message


def test_a_network_that_swallows_everything(
    monkeypatch: pytest.MonkeyPatch, no_network: Path
) -> None:
    """The hub's library alone would wait for ever for the first answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        serve_at(silent.getsockname()[1], monkeypatch)
        monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
        started = time.monotonic()
        assert "hf download x/y" in refusal("x/y")
        model(cached(no_network, "x/y"))
        assert resolve("x/y").name == f"x/y@{COMMIT}"
        assert time.monotonic() - started < 5
