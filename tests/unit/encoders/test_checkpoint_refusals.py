"""Guards which checkpoints are refused, and that the message says why and what would work.

What is refused is of another class than the encoders know, damaged, incomplete, or would have
other files or code loaded than the digest knows of.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchlight.tasks.encoders.checkpoints import resolve
from patchlight.tasks.encoders.families import FAMILIES
from tests.checkpoint_examples import (
    adapter,
    arrays,
    change,
    model,
    refusal,
    save,
    save_shards,
    write,
)

pytestmark = pytest.mark.usefixtures("no_network")


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
        ("Qwen2VLForConditionalGeneration", "Qwen2VLForConditionalGeneration is not one of"),
        ("OpsColQwen3Model", "OpsColQwen3Model is not one of the ColVision models"),
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
        (data[:50], "is cut off or not a safetensors file"),
        (b"", "is cut off or not a safetensors file"),
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
    assert "not a safetensors file beside it" in refusal(folder)


def test_an_adapter_in_several_files_is_refused(tmp_path: Path) -> None:
    """The libraries know of none, and would look for the file that can run code."""
    lora = adapter(tmp_path / "lora", str(model(tmp_path / "base")))
    (lora / "adapter_model.safetensors").rename(lora / "a.safetensors")
    write(lora, **{"adapter_model.safetensors.index": {"weight_map": {"a": "a.safetensors"}}})
    assert "holds no adapter_model.safetensors" in refusal(lora)
