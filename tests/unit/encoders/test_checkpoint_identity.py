"""Guards when two checkpoints are the same: by their digest, and by the name of their source."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from patchlight.tasks.encoders.checkpoints import resolve, same_source
from tests.checkpoint_examples import (
    COMMIT,
    HIDDEN,
    LATER,
    LONG,
    adapter,
    arrays,
    change,
    model,
    save,
    save_shards,
    write,
)

pytestmark = pytest.mark.usefixtures("no_network")


def test_the_digest_does_not_depend_on_where_a_checkpoint_lies(tmp_path: Path) -> None:
    """Nor on what its files say of where it came from."""
    base = model(tmp_path / "base")
    lora = adapter(tmp_path / "lora", str(base))
    digest = resolve(str(lora)).digest
    shutil.copytree(base, tmp_path / "elsewhere" / "colqwen2-base")
    copy = Path(shutil.copytree(lora, tmp_path / "elsewhere" / "lora"))
    change(copy, "adapter_config.json", base_model_name_or_path="x/colqwen2-base", peft_version="9")
    moved = tmp_path / "elsewhere" / "colqwen2-base"
    change(moved, "config.json", transformers_version="4.50", _name_or_path="/home/x/y")
    save_shards(moved, arrays())
    write(moved, generation_config={"do_sample": True}, trainer_state={"step": 5})
    (copy / "README.md").write_text("a model")
    assert resolve(str(copy)).digest == digest


@pytest.mark.parametrize("at", [0, LONG // 2, LONG - 1])
def test_the_digest_changes_with_a_weight(at: int, tmp_path: Path) -> None:
    weights = arrays()
    first = resolve(str(model(tmp_path / "a", weights=weights)))
    weights["model.layers.0.weight"][at] += 1
    assert resolve(str(model(tmp_path / "b", weights=weights))).digest != first.digest


def test_the_digest_changes_with_the_form_of_a_weight(tmp_path: Path) -> None:
    weights = arrays()
    digests = {resolve(str(model(tmp_path / "a", weights=weights))).digest}
    long = weights.pop("model.layers.0.weight")
    for number, other in enumerate((long.reshape(2, -1), long.view(np.float16))):
        changed = {"model.layers.0.weight": other, **weights}
        digests.add(resolve(str(model(tmp_path / str(number), weights=changed))).digest)
    renamed = {"model.layers.1.weight": long, **weights}
    digests.add(resolve(str(model(tmp_path / "name", weights=renamed))).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("part", "file", "values"),
    [
        ("base", "config.json", {"rope_theta": 5}),
        ("base", "preprocessor_config.json", {"size": 9}),
        ("base", "tokenizer.json", {"model": {"vocab": {"b": 0}}}),
        ("base", "tokenizer_config.json", {"padding_side": "right"}),
        ("lora", "adapter_config.json", {"lora_alpha": 64}),
        ("lora", "preprocessor_config.json", {"size": 9}),
    ],
)
def test_the_digest_changes_with_a_setting(
    part: str, file: str, values: dict[str, object], tmp_path: Path
) -> None:
    base = model(tmp_path / "base")
    lora = str(adapter(tmp_path / "lora", str(base)))
    before = resolve(lora).digest
    change(tmp_path / part, file)
    unchanged = before if file != "tokenizer.json" else resolve(lora).digest
    assert resolve(lora).digest == unchanged
    change(tmp_path / part, file, **values)
    assert resolve(lora).digest not in (before, unchanged)


def test_an_adapter_changes_the_digest_of_its_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    lora = adapter(tmp_path / "lora", str(base))
    digests = {resolve(str(base)).digest, resolve(str(lora)).digest}
    name = "base_model.model.custom_text_proj.lora_A.weight"
    save(lora / "adapter_model.safetensors", {name: np.full((4, HIDDEN), 2, np.float32)})
    digests.add(resolve(str(lora)).digest)
    save(lora / "adapter_model.safetensors", arrays())  # under the names of the base's own
    found = resolve(str(lora))
    assert found.parameters == 2 * (LONG + 128 * HIDDEN)
    assert len(digests | {found.digest}) == 4


def test_which_names_mean_the_same_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = f"vidore/colqwen2-v1.0@{COMMIT}"
    assert same_source("vidore/colqwen2-v1.0", stored)
    assert same_source(stored, stored)
    for other in (f"vidore/colqwen2-v1.0@{LATER}", "vidore/colqwen2-v1.0@main", "vidore/colqwen2"):
        assert not same_source(other, stored)
    pair = f"{stored}+vidore/colqwen2-base@{LATER}"
    for same in (
        "vidore/colqwen2-v1.0",
        stored,
        pair,
        f"{stored}+vidore/colqwen2-base",
        f"vidore/colqwen2-v1.0+vidore/colqwen2-base@{LATER}",
    ):
        assert same_source(same, pair)
    for other in (
        f"vidore/colqwen2-v1.0@{LATER}",
        "vidore/colqwen2-v1.0@main",
        "vidore/colqwen2-base",
        f"vidore/colqwen2-base@{LATER}",
        f"{stored}+vidore/colqwen2-base@{COMMIT}",
        f"vidore/colqwen2-v1.0+vidore/colqwen2-base@{COMMIT}",
        "vidore/colqwen2-v1.0+vidore/other",
        f"vidore/colqwen2-v1.0@{LATER}+vidore/colqwen2-base@{LATER}",
    ):
        assert not same_source(other, pair)
    assert not same_source(pair, stored)
    model(tmp_path / "x" / "y")
    monkeypatch.chdir(tmp_path)
    assert same_source("x/y", f"{tmp_path / 'x' / 'y'}+a/b@{COMMIT}")
    assert same_source(f"x/y+a/b@{COMMIT}", f"{tmp_path / 'x' / 'y'}+a/b@{COMMIT}")
    assert not same_source(f"x/y+a/b@{LATER}", f"{tmp_path / 'x' / 'y'}+a/b@{COMMIT}")
    model(tmp_path / "x+a" / "y")
    assert same_source("x+a/y", str(tmp_path / "x+a" / "y"))
    assert same_source("x/y", str(tmp_path / "x" / "y"))
    assert not same_source("x/y", f"x/y@{COMMIT}")  # a folder, though spelled like the id
    assert same_source("./x/../x/y", str(tmp_path / "x" / "y"))
    assert same_source("text-patch", "text-patch")
    assert not same_source("text-patch", stored)
