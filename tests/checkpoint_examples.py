"""Checkpoints of a few numbers in the files' real formats, for the tests of what a name means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.encoders.checkpoints import resolve
from patchlight.tasks.encoders.weightfiles import SAMPLE_BYTES

Arrays = Mapping[str, NDArray[Any]]

COMMIT, LATER = "0123456789abcdef" * 2 + "01234567", "fedcba9876543210" * 2 + "fedcba98"
HIDDEN = 8
LONG = 5 * SAMPLE_BYTES  # numbers of a tensor that is sampled, not read whole
NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.uint8): "U8"}


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
    for number, (name, array) in enumerate(reversed(list(arrays.items())), 1):
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
