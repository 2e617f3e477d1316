"""Guards which model a name means: its folder, its family, its base and its processor."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.encoders import checkpoints
from patchlight.tasks.encoders.checkpoints import Checkpoint, needs_engine, resolve
from patchlight.tasks.encoders.families import FAMILIES
from tests import tiny_checkpoints
from tests.checkpoint_examples import HIDDEN, LONG, adapter, arrays, change, model, refusal, write

pytestmark = pytest.mark.usefixtures("no_network")


def test_a_folder_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    found = resolve("here")
    assert found == Checkpoint(
        name=str(tmp_path / "here"),
        folder=tmp_path / "here",
        base=None,
        family=FAMILIES["colqwen2"],
        dim=128,
        digest=found.digest,
        parameters=LONG + 128 * HIDDEN,
    )
    assert re.fullmatch("[0-9a-f]{16}", found.digest)
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_folder_wins_over_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(tmp_path / "vidore" / "colqwen2-v1.0")
    monkeypatch.chdir(tmp_path)
    assert resolve("vidore/colqwen2-v1.0").folder == tmp_path / "vidore" / "colqwen2-v1.0"


@pytest.mark.parametrize("key", FAMILIES)
def test_every_family_is_known_by_its_model(key: str, tmp_path: Path) -> None:
    family = FAMILIES[key]
    dim = family.dim or 320
    weights = arrays(family.projection[-1], dim)
    found = resolve(str(model(tmp_path, family.model, None, weights, dim=dim)))
    assert (found.family, found.dim) == (family, dim)


@pytest.mark.parametrize("key", FAMILIES)
def test_every_family_is_known_by_its_processor(key: str, tmp_path: Path) -> None:
    """Some checkpoints say the class of the backbone as their architecture, or nothing."""
    family = FAMILIES[key]
    weights = arrays(family.projection[0], family.dim or 128)
    model(tmp_path, "SomeVLModel", family.processor, weights)
    assert resolve(str(tmp_path)).family is family
    change(tmp_path, "config.json", architectures=None)
    assert resolve(str(tmp_path)).family is family


@pytest.mark.parametrize(
    "projection",
    [
        "custom_text_proj.weight",
        "model.custom_text_proj.weight",
        "base_model.model.custom_text_proj.weight",
    ],
)
def test_published_names_of_the_projection(projection: str, tmp_path: Path) -> None:
    assert resolve(str(model(tmp_path, weights=arrays(projection)))).dim == 128


def test_an_adapter_is_found_with_its_base(tmp_path: Path) -> None:
    """As published: nothing in the adapter says the class, the base's configuration does."""
    base = model(tmp_path / "base", "ColQwen2_5", None)
    found = resolve(str(adapter(tmp_path / "lora", str(base), processor=None)))
    assert (found.folder, found.base) == (tmp_path / "lora", base)
    assert found.family is FAMILIES["colqwen2_5"]
    assert found.dim == 128
    assert found.parameters == LONG + 128 * HIDDEN + 4 * HIDDEN


def test_what_an_adapter_was_made_for_says_the_family(tmp_path: Path) -> None:
    base = model(tmp_path / "base", "Qwen2_5_VLForConditionalGeneration", None)
    lora = adapter(tmp_path / "lora", str(base), "ColQwen2_5", processor=None)
    assert resolve(str(lora)).family is FAMILIES["colqwen2_5"]


def test_an_adapter_may_hold_the_projection_itself(tmp_path: Path) -> None:
    base = model(
        tmp_path / "base",
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLProcessor",
        {"model.layers.0.weight": np.ones(3, np.float32)},
    )
    name = "base_model.model.custom_text_proj.modules_to_save.default.weight"
    lora = adapter(tmp_path / "lora", str(base), weights=arrays(name))
    assert resolve(str(lora)).dim == 128


def test_an_adapter_on_a_plain_model_is_refused(tmp_path: Path) -> None:
    """Its projection would be drawn at random, anew at every start."""
    base = model(
        tmp_path / "base",
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLProcessor",
        {"model.layers.0.weight": np.ones(3, np.float32)},
    )
    assert "would be random" in refusal(adapter(tmp_path / "lora", str(base), "ColQwen2"))


@pytest.mark.parametrize("place", ["absolute", "relative", "beside", "inside", "of another home"])
def test_where_a_base_is_looked_for(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "lora"
    base, name = {
        "absolute": (tmp_path / "b", str(tmp_path / "b")),
        "relative": (tmp_path / "models" / "b", "../b"),
        "beside": (tmp_path / "models" / "colqwen2-base", "vidore/colqwen2-base"),
        "inside": (folder / "colqwen2-base", "vidore/colqwen2-base"),
        "of another home": (tmp_path / "models" / "b", "/home/trainer/models/b/"),
    }[place]
    model(base)
    assert resolve(str(adapter(folder, name))).base == base


def test_a_base_that_is_nowhere(tmp_path: Path) -> None:
    lora = adapter(tmp_path / "models" / "lora", "vidore/colqwen2-base")
    message = refusal(lora)
    for place in (lora / "vidore/colqwen2-base", lora / "colqwen2-base"):
        assert str(place) in message
    assert str(tmp_path / "models" / "colqwen2-base") in message
    assert "hf download vidore/colqwen2-base --local-dir colqwen2-base" in message
    adapter(lora, "/home/trainer/b")
    message = refusal(lora)
    assert "/home/trainer/b is not at" in message
    assert str(tmp_path / "models" / "b") in message and "hf download" not in message


def test_an_adapter_of_an_adapter_is_refused(tmp_path: Path) -> None:
    first = adapter(tmp_path / "first", "x/y")
    write(first, config={})
    assert "merge that" in refusal(adapter(tmp_path / "second", str(first)))


def test_an_adapter_that_names_no_base(tmp_path: Path) -> None:
    assert "write it there" in refusal(adapter(tmp_path, ""))


@pytest.mark.parametrize(
    ("file", "missing"),
    [
        ("preprocessor_config.json", "lacks processor_config.json or preprocessor_config.json"),
        ("tokenizer.json", "lacks tokenizer.json or tokenizer.model or vocab.json with merges.txt"),
    ],
)
@pytest.mark.parametrize("part", ["whole", "base"])
def test_missing_files_of_the_processor_are_named(
    part: str, file: str, missing: str, tmp_path: Path
) -> None:
    """Found before a database is made with it, not when it is loaded."""
    folder = model(tmp_path / "model")
    name = str(adapter(tmp_path / "lora", str(folder)) if part == "base" else folder)
    assert resolve(name).processor == folder
    (folder / file).unlink()
    message = refusal(name)
    assert str(folder) in message and missing in message


def test_an_adapter_s_own_processor_comes_first(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    lora = adapter(tmp_path / "lora", str(base))
    write(lora, tokenizer={"model": {}}, tokenizer_config={})
    (base / "tokenizer.json").unlink()
    assert resolve(str(lora)).processor == lora
    (lora / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        (lora / name).write_text("{}")
    assert resolve(str(lora)).processor == lora
    (lora / "merges.txt").unlink()
    assert str(base) in refusal(lora)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    assert "holds no config.json" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["nothing-here", "/nothing/here", "./vidore/x", "a/b/c", "~x/y"])
def test_a_name_that_can_be_no_hub_id(name: str) -> None:
    message = refusal(name)
    assert "no such folder" in message and "vidore/colpali-v1.3" in message


@pytest.mark.parametrize(
    "name",
    ["a/b@../../x", "a/b@..", "a/b@x/../y", "a/b@/etc", "a/b@x//y", "a/b@-x", "a/b@x y", "a/b@"],
)
def test_what_can_be_no_revision_does_not_reach_the_cache(name: str, no_network: Path) -> None:
    outside = model(no_network.parent / "x")
    assert "it is not an id of a hub" in refusal(name)
    lora = adapter(no_network.parent / "lora", "a/b", revision=name.partition("@")[2] or "..")
    assert "is not a revision of a/b" in refusal(lora)
    assert outside.exists() and not no_network.exists()


@pytest.mark.parametrize("name", ["a/../b", "a--b/c", "a/b..c@v1"])
def test_what_can_be_no_repository(name: str) -> None:
    assert "no such folder" in refusal(name)


def test_a_folder_that_is_not_there_may_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal("models/colqwen")
    assert f"there is no folder {tmp_path / 'models' / 'colqwen'}" in message
    assert "the hub may not be asked, because HF_HUB_OFFLINE is set" in message


def test_missing_libraries_are_told_without_importing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    with pytest.raises(EncoderUnavailable, match="make install"):
        needs_engine()
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: object())
    needs_engine()


def test_nothing_heavy_is_imported() -> None:
    """Every command describes its encoder; torch and its libraries take ten seconds."""
    heavy = "'torch', 'transformers', 'colpali_engine', 'peft', 'huggingface_hub'"
    code = (
        "import sys; from patchlight.tasks.encoders import checkpoints; "
        f"sys.exit(', '.join({{{heavy}}} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of every family and an adapter to it, saved by the real libraries."""
    pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")
    root = tmp_path_factory.mktemp("built")
    for key in FAMILIES:
        tiny_checkpoints.build(key, root / key)
        tiny_checkpoints.adapter(key, root / key, root / f"{key}-lora")
    return root


@pytest.mark.parametrize("key", FAMILIES)
def test_what_the_libraries_save_is_understood(key: str, built: Path, tmp_path: Path) -> None:
    """Under today's names, and under those of checkpoints that were published earlier."""
    family = FAMILIES[key]
    whole = resolve(str(built / key))
    lora = resolve(str(built / f"{key}-lora"))
    assert whole.family is lora.family is family
    assert (whole.base, lora.base) == (None, built / key)
    assert whole.dim == lora.dim == (320 if key in ("colqwen3", "colqwen3_5") else 128)
    assert whole.digest != lora.digest
    assert 150_000 < whole.parameters < lora.parameters < 300_000
    older = resolve(str(tiny_checkpoints.as_published(key, whole.folder, tmp_path / key)))
    assert (older.family, older.dim) == (family, whole.dim)
    assert older.parameters == whole.parameters


def test_a_seed_makes_the_same_checkpoint(built: Path, tmp_path: Path) -> None:
    again = tiny_checkpoints.build("colqwen2", tmp_path / "again")
    other = tiny_checkpoints.build("colqwen2", tmp_path / "other", seed=5)
    digest = resolve(str(built / "colqwen2")).digest
    assert resolve(str(again)).digest == digest != resolve(str(other)).digest
