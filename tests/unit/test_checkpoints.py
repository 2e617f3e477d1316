"""Which model a name means. Checkpoints here are a few numbers in the files' real formats.

The hub is a small server on this machine that speaks as much of its protocol as downloads need;
what talks to it is the hub's own library.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from numpy.typing import NDArray

from tasks.encoders import checkpoints, hub
from tasks.encoders.checkpoints import Checkpoint, needs_engine, resolve, same_source
from tasks.encoders.families import FAMILIES
from tasks.encoders.weightfiles import SAMPLE_BYTES
from tasks.errors import EncoderUnavailable
from tests import tiny_checkpoints

Arrays = Mapping[str, NDArray[Any]]

COMMIT, LATER = "0123456789abcdef" * 2 + "01234567", "fedcba9876543210" * 2 + "fedcba98"
HIDDEN = 8
LONG = 5 * SAMPLE_BYTES  # numbers of a tensor that is sampled, not read whole
NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.uint8): "U8"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be offline, as by HF_HUB_OFFLINE=1, with an empty cache; returns the cache's folder."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def save(path: Path, arrays: Arrays) -> None:
    """Write a safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), end],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def save_shards(folder: Path, arrays: Arrays) -> None:
    """Write a tensor a file, with an index, in place of a whole file."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    where = {}
    for number, (name, array) in enumerate(reversed(arrays.items()), 1):
        where[name] = f"model-{number:05d}-of-{len(arrays):05d}.safetensors"
        save(folder / where[name], {name: array})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def arrays(projection: str = "custom_text_proj.weight", dim: int = 128) -> dict[str, NDArray[Any]]:
    """Weights of a model: a projection and a long tensor."""
    random = np.random.default_rng(0)
    return {
        "model.layers.0.weight": random.standard_normal((LONG,)).astype(np.float32),
        projection: random.standard_normal((dim, HIDDEN)).astype(np.float32),
    }


def write(folder: Path, **files: object) -> None:
    """Write JSON files by their names without the ending; None takes one away."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(json.dumps(content))


def model(
    folder: Path,
    architecture: str | None = "ColQwen2",
    processor: str | None = "ColQwen2Processor",
    weights: Arrays | None = None,
    **config: object,
) -> Path:
    """Write a model's folder."""
    named = {} if architecture is None else {"architectures": [architecture]}
    write(
        folder,
        config={"model_type": "qwen2_vl", "transformers_version": "5.0", **named, **config},
        preprocessor_config={"size": 1} | ({"processor_class": processor} if processor else {}),
        tokenizer={"model": {"vocab": {"a": 0}}},
        tokenizer_config={"padding_side": "left"},
    )
    save(folder / "model.safetensors", arrays() if weights is None else weights)
    return folder


def adapter(
    folder: Path,
    base: str,
    model_class: str | None = None,
    processor: str | None = "ColQwen2Processor",
    weights: Arrays | None = None,
    **config: object,
) -> Path:
    """Write a LoRA adapter's folder."""
    mapping = {"base_model_class": model_class, "parent_library": "x"} if model_class else None
    write(
        folder,
        adapter_config={
            "base_model_name_or_path": base,
            "auto_mapping": mapping,
            "peft_type": "LORA",
            **config,
        },
        preprocessor_config={"size": 2} | ({"processor_class": processor} if processor else {}),
    )
    lora = {"base_model.model.custom_text_proj.lora_A.weight": np.ones((4, HIDDEN), np.float32)}
    save(folder / "adapter_model.safetensors", lora if weights is None else weights)
    return folder


def refusal(name: object) -> str:
    """The message that a name is refused with."""
    with pytest.raises(EncoderUnavailable) as caught:
        resolve(str(name))
    return str(caught.value)


def change(folder: Path, file: str, **values: object) -> None:
    """Change keys of a JSON file, and write it in another order and layout."""
    content = json.loads((folder / file).read_text())
    turned = dict(reversed((content | values).items()))
    (folder / file).write_text(json.dumps(turned, indent=4))


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
    ("architecture", "reason"),
    [
        ("BiPali", "one vector for a page"),
        ("BiPaliProj", "one vector for a page"),
        ("BiQwen2", "one vector for a page"),
        ("BiQwen2_5", "one vector for a page"),
        ("BiQwen3", "one vector for a page"),
        ("BiQwen3_5", "one vector for a page"),
        ("BiIdefics3", "one vector for a page"),
        ("BiModernVBert", "one vector for a page"),
        ("BiGemma3", "one vector for a page"),
        ("ColPaliForRetrieval", "take vidore/colpali-v1.3, or a checkpoint made with colpali-eng"),
        ("ColQwen2ForRetrieval", "take vidore/colqwen2-v1.0, or a checkpoint made with colpali-e"),
        ("ColModernVBertForRetrieval", "take ModernVBERT/colmodernvbert, or a checkpoint made"),
        ("ColQwen2_5Omni", "ColQwen2_5Omni is not among the models"),
        ("Qwen2VLForConditionalGeneration", "Qwen2VLForConditionalGeneration is none of the Col"),
        ("OpsColQwen3Model", "OpsColQwen3Model is none of the ColVision models"),
        (None, "does not say which model it is"),
    ],
)
def test_what_is_no_colvision_model_is_refused(
    architecture: str | None, reason: str, tmp_path: Path
) -> None:
    """The message says what would work, for every family."""
    message = refusal(model(tmp_path, architecture, None))
    assert reason in message
    for family in FAMILIES.values():
        assert f"{family.model} ({family.examples[0]})" in message


def test_transformers_own_form_shares_its_processor_s_name(tmp_path: Path) -> None:
    """Its processor is called ColQwen2Processor too, but its weights have other names."""
    model(tmp_path, None, "ColQwen2Processor", model_type="colqwen2")
    assert "transformers' own form" in refusal(tmp_path)


def test_a_single_vector_adapter_on_a_colvision_base_is_refused(tmp_path: Path) -> None:
    base = model(tmp_path / "base", "ColQwen2")
    lora = adapter(tmp_path / "lora", str(base), processor="BiQwen2Processor")
    assert "one vector for a page" in refusal(lora)
    model(base, "BiQwen2")
    assert "one vector for a page" in refusal(adapter(lora, str(base)))


def test_a_vector_of_a_length_that_the_class_does_not_make(tmp_path: Path) -> None:
    """The class has its length written into it; the weight would not fit."""
    message = refusal(model(tmp_path, weights=arrays(dim=64)))
    assert "64 numbers" in message and "128" in message
    model(tmp_path, "ColQwen3_5", None, arrays(dim=320))  # config.json says nothing: 128
    assert "320 numbers" in refusal(tmp_path)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    weights = {"custom_text_proj.weight": np.zeros((512, 1), np.uint8)}
    assert "not quantised" in refusal(model(tmp_path, weights=weights))


def test_weights_in_a_format_that_runs_code_are_refused(tmp_path: Path) -> None:
    (model(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert "holds no model.safetensors" in refusal(tmp_path)


def test_an_adapter_without_its_weights(tmp_path: Path) -> None:
    lora = adapter(tmp_path / "lora", str(model(tmp_path / "base")))
    (lora / "adapter_model.safetensors").unlink()
    assert "holds no adapter_model.safetensors" in refusal(lora)


def test_weights_in_several_files(tmp_path: Path) -> None:
    model(tmp_path)
    whole = resolve(str(tmp_path))
    save_shards(tmp_path, arrays())
    assert resolve(str(tmp_path)) == whole
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    assert "model-00001-of-00002.safetensors is missing" in refusal(tmp_path)


def test_an_index_that_does_not_fit_its_files(tmp_path: Path) -> None:
    model(tmp_path)
    save_shards(tmp_path, arrays())
    save(tmp_path / "model-00002-of-00002.safetensors", {"other": np.ones(1, np.float32)})
    assert "lacks model.layers.0.weight" in refusal(tmp_path)
    write(tmp_path, **{"model.safetensors.index": {"weight_map": {}}})
    assert "names no file" in refusal(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    weights = model(tmp_path) / "model.safetensors"
    data = weights.read_bytes()
    for part, reason in (
        (data[:-1], "is cut off: "),
        (data[:50], "is cut off or no safetensors file"),
        (b"", "is cut off or no safetensors file"),
        (data[:8] + b"{" * (len(data) - 8), "is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ):
        weights.write_bytes(part)
        message = refusal(tmp_path)
        assert str(weights) in message and reason in message
    weights.write_bytes(data)
    (tmp_path / "config.json").write_text("{")
    assert f"{tmp_path / 'config.json'} cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("part", "file", "values", "reason"),
    [
        ("base", "config.json", {"transformers_weights": "adapter_model.bin"}, "another file of w"),
        ("base", "config.json", {"text_config": {"transformers_weights": "x"}}, "another file of"),
        ("base", "config.json", {"configuration_files": ["config.4.0.0.json"]}, "another config"),
        ("base", "config.json", {"quantization_config": {"bits": 4}}, "not quantised"),
        (
            "base",
            "config.json",
            {"vision_config": {"_attn_implementation": "x/y"}},
            "code of a hub",
        ),
        ("base", "config.json", {"attn_implementation": {"": "x/y:z"}}, "code of a hub"),
        ("base", "tokenizer_config.json", {"fast_tokenizer_files": ["a"]}, "another tokenizer"),
        ("base", "preprocessor_config.json", {"audio_tokenizer": {"a": "x/y"}}, "another model"),
        ("lora", "preprocessor_config.json", {"audio_tokenizer": {"a": "x/y"}}, "another model"),
        ("lora", "adapter_config.json", {"transformers_weights": "x.bin"}, "another file of w"),
        ("lora", "adapter_config.json", {"megatron_config": {"a": 1}}, "a module of Python"),
        ("lora", "adapter_config.json", {"peft_type": "XLORA"}, "take an adapter made by LoRA"),
        ("lora", "adapter_config.json", {"peft_type": None}, "take an adapter made by LoRA"),
    ],
)
def test_what_has_other_files_or_code_loaded_is_refused(
    part: str, file: str, values: dict[str, object], reason: str, tmp_path: Path
) -> None:
    """The digest would not know of them, nor whether they are safetensors files."""
    lora = adapter(tmp_path / "lora", str(model(tmp_path / "base")))
    harmless: dict[str, object] = {"transformers_weights": None, "_attn_implementation": "sdpa"}
    change(tmp_path / part, file, megatron_core="megatron.core", **harmless)
    resolve(str(lora))
    change(tmp_path / part, file, **values)
    message = refusal(lora)
    assert str(tmp_path / part / file) in message and reason in message


@pytest.mark.parametrize(
    "name", ["shard-00000-model-00001-of-00002.safetensors", "audio_tokenizer_config.json"]
)
def test_files_that_are_loaded_instead_are_refused(name: str, tmp_path: Path) -> None:
    (model(tmp_path) / name).write_text("{}")
    assert f"{tmp_path / name} would be loaded" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "pytorch_model.bin"])
def test_an_index_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / name)
    where = dict.fromkeys(arrays(), name)
    write(folder, **{"model.safetensors.index": {"weight_map": where}})
    assert "no safetensors file beside it" in refusal(folder)


def test_an_adapter_in_several_files_is_refused(tmp_path: Path) -> None:
    """The libraries know of none, and would look for the file that can run code."""
    lora = adapter(tmp_path / "lora", str(model(tmp_path / "base")))
    (lora / "adapter_model.safetensors").rename(lora / "a.safetensors")
    write(lora, **{"adapter_model.safetensors.index": {"weight_map": {"a": "a.safetensors"}}})
    assert "holds no adapter_model.safetensors" in refusal(lora)


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
    assert "it can be no id of a hub" in refusal(name)
    lora = adapter(no_network.parent / "lora", "a/b", revision=name.partition("@")[2] or "..")
    assert "can be no revision of a/b" in refusal(lora)
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
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
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
        "import sys; from tasks.encoders import checkpoints; "
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
