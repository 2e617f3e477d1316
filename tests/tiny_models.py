"""Models and processors of the ColVision families, made from configurations alone.

Tiny ones of every family, and some of the shape of published checkpoints. No weights are made
here; ``tiny_checkpoints`` makes and saves them. transformers and colpali-engine are imported when
something is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

QWEN_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEXT = dict(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)
SIGLIP = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=512,
    patch_size=16,
)
QWEN_VISION = dict(depth=2, hidden_size=32, intermediate_size=64, out_hidden_size=64, num_heads=2)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a checkpoint is made of: the model's class, its configuration, and a processor."""

    model: Any
    config: Any
    processor: Any


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
    return dict(
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )


def _rope(*sections: int, **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(sections)}
    return {"rope_parameters": {**rope, **more}}


def _colqwen2(text: dict[str, int]) -> Parts:
    from colpali_engine.models import ColQwen2, ColQwen2Processor
    from transformers.models.qwen2_vl import Qwen2VLConfig

    processor, tokenizer = _qwen_processor(ColQwen2Processor)
    vision = dict(
        depth=2, embed_dim=32, hidden_size=64, num_heads=2, patch_size=14, spatial_merge_size=2
    )
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
    linear_attention = dict(
        layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
    )
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
    image = dict(
        boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
    )
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
    vision = dict(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=512,
        patch_size=16,
    )
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
        vision_config=dict(
            depth=32,
            hidden_size=1280,
            intermediate_size=3420,
            out_hidden_size=2048,
            num_heads=16,
            patch_size=14,
            spatial_merge_size=2,
            window_size=112,
            fullatt_block_indexes=[7, 15, 23, 31],
        ),
        **_qwen_ids(tokenizer),
    )
    return Parts(ColQwen2_5, config, processor)


SHAPES: Mapping[str, Callable[[], Parts]] = {
    "colsmol-256m": _colsmol_256m,
    "colqwen2.5-3b": _colqwen2_5_3b,
}
"""Makers of models of real size: name -> their parts."""
