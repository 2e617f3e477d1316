"""Guards the loading of checkpoints: whose weights a model has, and that nothing else is run."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")

import torch
from PIL import Image

from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.encoders import weights
from patchlight.tasks.encoders.checkpoints import resolve
from patchlight.tasks.encoders.families import FAMILIES
from tests import tiny_checkpoints

CPU = torch.device("cpu")

each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build a family's checkpoint when it is first asked for, and an adapter to it."""
    root = tmp_path_factory.mktemp("checkpoints")

    def built(name: str) -> Path:
        folder, family = root / name, name.removesuffix("-lora")
        if not folder.exists() and name == family:
            tiny_checkpoints.build(family, folder)
        elif not folder.exists():
            tiny_checkpoints.adapter(family, built(family), folder)
        return folder

    return built


def load(folder: Path) -> Any:
    return weights.load_model(resolve(str(folder)), CPU, torch.float32)


def vectors(folder: Path) -> torch.Tensor:
    """What a checkpoint makes of a page, by its own processor."""
    checkpoint = resolve(str(folder))
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    processor = weights.load_processor(checkpoint, 12 if checkpoint.family.visual_tokens else 0)
    batch = processor.process_images([Image.fromarray(noise)])
    with torch.inference_mode():
        found: torch.Tensor = load(folder)(**batch)
    return found


@each_family
@pytest.mark.parametrize("form", ["", "-lora"])
def test_published_layouts_give_the_same_vectors(
    family: str, form: str, shelf: Callable[[str], Path], tmp_path: Path
) -> None:
    """Published weights have older names, or those of another library."""
    plain = shelf(family + form)
    published = tiny_checkpoints.as_published(family, plain, tmp_path / "published")
    assert torch.equal(vectors(published), vectors(plain))


@each_family
def test_nothing_is_left_of_an_adapter_but_its_weights(
    family: str, shelf: Callable[[str], Path]
) -> None:
    plain, merged = load(shelf(family)), load(shelf(f"{family}-lora"))
    assert [type(one) for one in merged.modules()] == [type(one) for one in plain.modules()]
    shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (plain, merged)]
    assert shapes[0] == shapes[1]
    assert not any(weight.requires_grad for weight in merged.parameters())
    names = [name for name, weight in plain.named_parameters() if not weight.is_meta]
    there = [[one.get_parameter(name) for name in names] for one in (plain, merged)]
    assert any(not torch.equal(before, after) for before, after in zip(*there, strict=True))


def test_an_adapter_s_own_projection_takes_the_place_of_its_base_s(
    shelf: Callable[[str], Path], tmp_path: Path
) -> None:
    from colpali_engine.models import ColQwen2
    from peft import LoraConfig, get_peft_model

    base = ColQwen2.from_pretrained(str(shelf("colqwen2")))
    config = LoraConfig(
        r=2,
        init_lora_weights=False,
        target_modules=["q_proj"],
        modules_to_save=["custom_text_proj"],
    )
    adapted = get_peft_model(base, config)
    projection = adapted.custom_text_proj.modules_to_save.default.weight
    with torch.no_grad():
        projection.fill_(0.5)
    adapted.save_pretrained(tmp_path)
    found = load(tmp_path).custom_text_proj
    assert type(found) is torch.nn.Linear
    assert torch.equal(found.weight, projection)


EVIL = """
from pathlib import Path
Path({mark!r}).write_text("ran")
class Evil:
    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        return cls()
    from_dict = from_pretrained
"""


def poison(folder: Path, file: str, **values: object) -> Path:
    """Put code in a checkpoint, which leaves a file when it is run, and name it in a JSON file."""
    mark = folder / "ran"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))
    return mark


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (
            "processor_config.json",
            {
                "image_processor": {"image_processor_type": "EvilIP"},
                "auto_map": {"AutoImageProcessor": "evil.Evil"},
            },
        ),
        (
            "processor_config.json",
            {
                "image_processor": {
                    "image_processor_type": "EvilIP",
                    "auto_map": {"AutoImageProcessor": "evil.Evil"},
                }
            },
        ),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}),
        (
            "tokenizer_config.json",
            {
                "tokenizer_class": "EvilTokenizer",
                "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
            },
        ),
        ("config.json", {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}),
        (
            "config.json",
            {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}},
        ),
    ],
)
@pytest.mark.parametrize("family", ["colqwen2", "colqwen3", "colpali", "colgemma3"])
def test_no_code_of_a_checkpoint_is_run(
    family: str,
    file: str,
    values: dict[str, object],
    shelf: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor is asked for, although whoever sits there would say yes.

    What the libraries have a class of their own for is loaded by that; the rest is refused.
    """
    folder = Path(shutil.copytree(shelf(family), tmp_path / "evil"))
    mark = poison(folder, file, **values)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n" * 20))
    checkpoint = resolve(str(folder))
    parts: list[Callable[[], object]] = [
        lambda: weights.load_processor(checkpoint, 0),
        lambda: weights.load_model(checkpoint, CPU, torch.float32),
    ]
    for part in parts:
        try:
            part()
        except EncoderUnavailable as error:
            assert str(error).startswith((f"{folder}: cannot be loaded", f"{folder}: needs code"))
    assert not mark.exists()
    assert "custom code" not in capsys.readouterr().out


def test_a_class_that_only_a_checkpoint_has_is_refused(
    shelf: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(shelf("colqwen2"), tmp_path / "evil"))
    image_processor = {
        "image_processor_type": "EvilIP",
        "auto_map": {"AutoImageProcessor": "evil.Evil"},
    }
    mark = poison(folder, "processor_config.json", image_processor=image_processor)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "unknown"}))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n" * 20))
    with pytest.raises(
        EncoderUnavailable, match="needs code of its own, which patchlight does not"
    ):
        weights.load_processor(resolve(str(folder)), 768)
    assert not mark.exists()


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.mark, "ran")


def test_a_pickle_in_place_of_the_weights_is_refused(
    shelf: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(shelf("colqwen2"), tmp_path / "evil"))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(folder / "ran")))
    config = json.loads((folder / "config.json").read_text())
    config["transformers_weights"] = "adapter_model.bin"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderUnavailable, match="transformers_weights"):
        load(folder)
    assert not (folder / "ran").exists()
