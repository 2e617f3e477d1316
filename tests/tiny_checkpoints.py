"""Checkpoints with random weights for the tests and benchmarks of the ColVision encoders.

Made without a hub: tiny ones of every family, LoRA adapters of them, the same under the names of
published checkpoints, and some of the shape of published ones for measuring speed. The same seed
gives the same bytes. Their vectors mean nothing, but a patch's vector does depend on what is
drawn there, so places on the page can be tested.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from patchlight.tasks.encoders.families import FAMILIES as KNOWN
from tests.tiny_models import FAMILIES, SHAPES, TEXT

__all__ = ["FAMILIES", "SHAPES", "adapter", "as_published", "build", "shaped"]

PROJECTIONS = ("custom_text_proj", "linear")
"""Names of the modules that make the vectors."""

_PUBLISHED = {
    "colpali": [
        (r"^model\.vision_tower\.", "model.vision_tower.vision_model."),
        (r"model\.model\.language_model\.layers", "model.language_model.model.layers"),
    ],
    "colqwen2": [(r"language_model\.", "model.")],
    "colqwen2_5": [(r"language_model\.", "model.")],
    "colqwen3": [
        (r"^model\.custom_text_proj", "embedding_proj_layer"),
        (r"^model\.", "vlm.model."),
    ],
    "colmodernvbert": [
        (r"^base_model\.model\.(?!.*lora_)(model\.)?", "model."),
        (r"^model\.vision_model\.", "model.vision_model.vision_model."),
    ],
    "colgemma3": [(r"^vision_tower\.", "vision_tower.vision_model.")],
}
"""Family -> from names that transformers 5 saves to those of the published checkpoints, which are
older, or come from elsewhere (colqwen3: TomoroAI)."""


def build(family: str, folder: Path, *, seed: int = 0, **sizes: int) -> Path:
    """Write a tiny checkpoint of a family, about 1 MB; returns its folder.

    Args:
        family: a key of ``tasks.encoders.families.FAMILIES``.
        folder: where to; made if it is not there.
        seed: of the weights.
        sizes: other numbers of the text model, as ``num_hidden_layers=3``.
    """
    import torch

    parts = FAMILIES[family]({**TEXT, **sizes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = parts.model(parts.config).eval().float()
        for name, weight in model.named_parameters():
            # Gemma 3's projector is zeros until it is trained: no picture would matter.
            if name.endswith("mm_input_projection_weight"):
                torch.nn.init.normal_(weight, std=0.2)
            # With a bias of zeros the vector of a padding token is 0/0.
            if name.split(".")[-2] in PROJECTIONS and name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.02)
    with _quietly():
        model.save_pretrained(folder)
        parts.processor.save_pretrained(folder)
    return folder


def adapter(family: str, base: Path, folder: Path, *, seed: int = 1) -> Path:
    """Write a LoRA adapter of a checkpoint, as the published ones are; returns its folder.

    Its weights are random and not zero, so it moves every vector. It names ``base`` by absolute
    path and holds the processor's files.

    Args:
        family: of the base, a key of ``FAMILIES``.
        base: folder of the checkpoint that it adapts.
        folder: where to; made if it is not there.
        seed: of the weights.
    """
    import torch
    from colpali_engine import models
    from peft import LoraConfig, get_peft_model

    known = KNOWN[family]
    # The name of the base is a part of what is saved.
    with _quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(models, known.model).from_pretrained(str(base.resolve()))
        # As in colpali-engine's training configurations: the language model and the projection.
        layers = r".*(text_model|language_model).*(_proj|Wqkv|Wo|Wi)"
        targets = rf"({layers}|.*({'|'.join(PROJECTIONS)}))$"
        adapted = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=targets)
        )
        adapted.save_pretrained(folder)
        processor = getattr(models, known.processor).from_pretrained(str(base))
        processor.save_pretrained(folder)
    return folder


def as_published(family: str, source: Path, folder: Path) -> Path:
    """Copy a checkpoint or an adapter under the names that published ones have for weights.

    Args:
        family: of the checkpoint.
        source: folder of ``build`` or ``adapter``.
        folder: where to; must not be there.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    (weights,) = folder.glob("*.safetensors")
    renamed = {}
    for name, tensor in load_file(weights).items():
        for pattern, replacement in _PUBLISHED.get(family, ()):
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    save_file(renamed, weights, metadata={"format": "pt"})
    if family == "colqwen3" and (folder / "config.json").exists():
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "colqwen3", "embed_dim": 320}
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def shaped(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write random bfloat16 weights in the shape of a published checkpoint; returns its folder.

    For measuring speed and memory. Queries are cut into bytes, about four times as many tokens
    as the real tokenizer makes.

    Args:
        name: a key of ``SHAPES``.
        folder: where to; made if it is not there.
        seed: of the weights.
    """
    import torch
    from safetensors.torch import save_file

    parts = SHAPES[name]()
    with torch.device("meta"):
        model = parts.model(parts.config)
    parts.config.architectures = [parts.model.__name__]
    parts.config.dtype = "bfloat16"
    folder.mkdir(parents=True, exist_ok=True)
    noise = torch.from_numpy(
        np.random.default_rng(seed).standard_normal(_NOISE, dtype=np.float32) * 0.02
    ).to(torch.bfloat16)
    shards = list(_shards(model.state_dict(), _SHARD_NUMBERS))
    where = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        where.update(dict.fromkeys(tensors, file))
        save_file(
            {key: _fill(key, tensor, noise) for key, tensor in tensors.items()},
            folder / file,
            metadata={"format": "pt"},
        )
    size = 2 * sum(tensor.numel() for tensors in shards for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with _quietly():
        parts.config.save_pretrained(folder)
        parts.processor.save_pretrained(folder)
    return folder


_NOISE = 16_777_213
"""Random numbers that all weights of a ``shaped`` checkpoint are cut from; prime, so that rows
do not repeat."""

_SHARD_NUMBERS = 1_000_000_000
"""Weights in a file of a ``shaped`` checkpoint: 2 GB."""


def _shards(state: Mapping[str, Any], numbers: int) -> Iterator[dict[str, Any]]:
    shard: dict[str, Any] = {}
    held = 0
    for name, tensor in state.items():
        if shard and held + tensor.numel() > numbers:
            yield shard
            shard, held = {}, 0
        shard[name] = tensor
        held += tensor.numel()
    yield shard


def _fill(name: str, like: Any, noise: Any) -> Any:
    """Return noise in a tensor's shape; ones where it scales the outcome of a normalisation."""
    import torch

    if like.ndim == 1 and name.endswith("weight"):
        return torch.ones(like.shape, dtype=torch.bfloat16)
    missing = like.numel() - len(noise)
    if missing > 0:
        return noise.repeat(missing // len(noise) + 2)[: like.numel()].reshape(like.shape)
    start = sum(name.encode()) * 1009 % (1 - missing)
    return noise[start : start + like.numel()].reshape(like.shape).clone()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep progress bars and advice of the libraries out of the output of a test."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
