"""Checkpoints with random weights for the tests and benchmarks of the ColVision encoders.

Made from configurations alone, without a hub: tiny ones of every family, LoRA adapters of them,
and some of the shape of published ones for measuring speed. The same seed gives the same bytes.
Their vectors mean nothing, but a patch's vector does depend on what is drawn there, so places on
the page can be tested.

torch, transformers, peft and colpali-engine are imported when something is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROJECTIONS = ("custom_text_proj", "linear")
"""Names of the modules that make the vectors."""

QWEN_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 512,
    "patch_size": 16,
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 64,
    "num_heads": 2,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a checkpoint is made of: the model's class, its configuration, and a processor."""

    model: Any
    config: Any
    processor: Any


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

    from tasks.encoders.families import FAMILIES as KNOWN

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
    start = sum(name.encode()) * 1009 % len(noise)
    times = -(-(start + like.numel()) // len(noise))
    return noise.repeat(times)[start : start + like.numel()].reshape(like.shape).clone()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep progress bars and advice of the libraries out of the output of a test."""
    import warnings

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


def byte_tokenizer(special: Sequence[str], **named: Any) -> Any:
    """A tokenizer of the 256 bytes and special tokens, without merges: nothing is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def _qwen_processor(processor: Any, patch: int = 14, tokens: int = 768) -> tuple[Any, Any]:
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = byte_tokenizer(QWEN_TOKENS, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    cell = (patch * 2) ** 2
    shape = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    images = Qwen2VLImageProcessor(
        size={"shortest_edge": 4 * cell, "longest_edge": tokens * cell}, **shape
    )
    videos = Qwen2VLVideoProcessor(**shape)
    return processor(image_processor=images, tokenizer=tokenizer, video_processor=videos), tokenizer


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    number = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
    }


def _rope(*sections: int, **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(sections)}
    return {"rope_parameters": {**rope, **more}}


def _colqwen2(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColQwen2, ColQwen2Processor
    from transformers.models.qwen2_vl import Qwen2VLConfig

    processor, tokenizer = _qwen_processor(ColQwen2Processor)
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 64,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
    }
    config = Qwen2VLConfig(
        text_config={**text, "vocab_size": len(tokenizer), **_rope(2, 3, 3)},
        vision_config=vision,
        **_qwen_ids(tokenizer),
    )
    return Parts(ColQwen2, config, processor)


def _colqwen2_5(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor
    from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig

    processor, tokenizer = _qwen_processor(ColQwen2_5_Processor)
    config = Qwen2_5_VLConfig(
        text_config={**text, "vocab_size": len(tokenizer), **_rope(2, 3, 3)},
        vision_config={**QWEN_VISION, "fullatt_block_indexes": [1]},
        **_qwen_ids(tokenizer),
    )
    return Parts(ColQwen2_5, config, processor)


def _colqwen3(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColQwen3, ColQwen3Processor
    from transformers.models.qwen3_vl import Qwen3VLConfig

    processor, tokenizer = _qwen_processor(ColQwen3Processor, patch=16)
    config = Qwen3VLConfig(
        text_config={**text, "vocab_size": len(tokenizer), "head_dim": 16, **_rope(2, 3, 3)},
        vision_config={
            **QWEN_VISION,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
        **_qwen_ids(tokenizer),
    )
    return Parts(ColQwen3, config, processor)


def _colqwen3_5(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColQwen3_5, ColQwen3_5Processor
    from transformers.models.qwen3_5 import Qwen3_5Config

    processor, tokenizer = _qwen_processor(ColQwen3_5Processor, patch=16)
    linear_attention = {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    config = Qwen3_5Config(
        text_config={
            **text,
            "vocab_size": len(tokenizer),
            "head_dim": 16,
            **linear_attention,
            **_rope(2, 3, 3, partial_rotary_factor=1.0),
        },
        vision_config={**QWEN_VISION, "num_position_embeddings": 64},
        **_qwen_ids(tokenizer),
    )
    config.dim = 320  # the only family that reads it from the configuration
    return Parts(ColQwen3_5, config, processor)


def _colpali(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColPali, ColPaliProcessor
    from transformers import PaliGemmaConfig, SiglipImageProcessor

    tokenizer = byte_tokenizer(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<image>"],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="right",
        extra_special_tokens={"image_token": "<image>"},
    )
    images = SiglipImageProcessor(size={"height": 448, "width": 448}, image_seq_length=1024)
    # Adds 1024 + 128 tokens, so the size of the vocabulary is known only after it.
    processor = ColPaliProcessor(image_processor=images, tokenizer=tokenizer)
    config = PaliGemmaConfig(
        text_config={
            **text,
            "model_type": "gemma",
            "vocab_size": len(tokenizer),
            "head_dim": 16,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
        vision_config={
            **SIGLIP,
            "model_type": "siglip_vision_model",
            "num_hidden_layers": 2,
            "image_size": 448,
            "patch_size": 14,
            "projection_dim": 64,
            "vision_use_head": False,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        hidden_size=64,
        vocab_size=len(tokenizer),
    )
    return Parts(ColPali, config, processor)


def _tiled_processor(processor: Any, first: Sequence[str]) -> tuple[Any, Any]:
    from transformers import Idefics3ImageProcessor

    tiles = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    tokenizer = byte_tokenizer(
        [*first, *special, *tiles],
        bos_token=first[0],
        eos_token="<end_of_utterance>",
        pad_token=first[1],
    )
    images = Idefics3ImageProcessor(
        size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}
    )
    return processor(image_processor=images, tokenizer=tokenizer, image_seq_len=64), tokenizer


def _colidefics3(
    text: Mapping[str, Any], vision: Mapping[str, Any] = SIGLIP, vocabulary: int = 0
) -> Parts:
    from colpali_engine.models import ColIdefics3, ColIdefics3Processor
    from transformers import Idefics3Config

    processor, tokenizer = _tiled_processor(ColIdefics3Processor, ["<|im_start|>", "<|im_end|>"])
    config = Idefics3Config(
        text_config={
            **text,
            "model_type": "llama",
            "vocab_size": vocabulary or len(tokenizer),
            "pad_token_id": 1,
        },
        vision_config=dict(vision),
        scale_factor=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=1,
    )
    return Parts(ColIdefics3, config, processor)


def _colmodernvbert(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColModernVBert, ColModernVBertProcessor
    from transformers import ModernVBertConfig

    processor, tokenizer = _tiled_processor(
        ColModernVBertProcessor, ["<|begin_of_text|>", "<|padding|>"]
    )
    bert = {key: value for key, value in text.items() if key != "num_key_value_heads"}
    config = ModernVBertConfig(
        text_config={
            **bert,
            "model_type": "modernbert",
            "vocab_size": len(tokenizer),
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 4,
            "cls_token_id": 0,
            "sep_token_id": 4,
        },
        vision_config={**SIGLIP, "model_type": "siglip_vision_model"},
        pixel_shuffle_factor=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return Parts(ColModernVBert, config, processor)


def _colgemma3(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColGemma3, ColGemmaProcessor3
    from transformers import Gemma3Config, Gemma3ImageProcessor

    turns = ["<start_of_turn>", "<end_of_turn>"]
    image = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = byte_tokenizer(
        ["<pad>", "<eos>", "<bos>", "<unk>", *image.values(), *turns],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=image,
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<start_of_image>"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    )
    processor = ColGemmaProcessor3(
        image_processor=Gemma3ImageProcessor(size={"height": 896, "width": 896}),
        tokenizer=tokenizer,
        image_seq_length=256,
    )
    number = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={
            **text,
            "vocab_size": len(tokenizer),
            "head_dim": 16,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
        vision_config={
            **SIGLIP,
            "image_size": 896,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=256,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<image_soft_token>"),
    )
    return Parts(ColGemma3, config, processor)


FAMILIES: Mapping[str, Callable[[dict[str, int]], Parts]] = {
    "colpali": _colpali,
    "colqwen2": _colqwen2,
    "colqwen2_5": _colqwen2_5,
    "colqwen3": _colqwen3,
    "colqwen3_5": _colqwen3_5,
    "colidefics3": _colidefics3,
    "colmodernvbert": _colmodernvbert,
    "colgemma3": _colgemma3,
}
"""Makers of tiny models: family -> its parts, given the numbers of its text model."""


def _colsmol_256m() -> Parts:
    """The shape of vidore/colSmol-256M on HuggingFaceTB/SmolVLM-256M-Instruct, 228 M weights."""
    text = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000},
    }
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    }
    return _colidefics3(text, vision, vocabulary=49_280)


def _colqwen2_5_3b() -> Parts:
    """The shape of vidore/colqwen2.5-v0.2 on Qwen/Qwen2.5-VL-3B-Instruct, 3.75 G weights."""
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor
    from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig

    processor, tokenizer = _qwen_processor(ColQwen2_5_Processor)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128_000,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            **_rope(16, 24, 24, rope_theta=1_000_000.0),
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 2048,
            "num_heads": 16,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        **_qwen_ids(tokenizer),
    )
    return Parts(ColQwen2_5, config, processor)


SHAPES: Mapping[str, Callable[[], Parts]] = {
    "colsmol-256m": _colsmol_256m,
    "colqwen2.5-3b": _colqwen2_5_3b,
}
"""Makers of models of real size: name -> their parts."""
