"""Loads a ColVision checkpoint: the model with its adapter, and the processor.

Nothing is fetched here and no code of a checkpoint is run. A weight that the files do not hold
would be drawn at random and give vectors that look right, so every such case is an error.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.encoders.checkpoints import Checkpoint
from patchlight.tasks.encoders.families import Family
from patchlight.tasks.encoders.grids import image_token

if TYPE_CHECKING:
    import torch

_BIDIRECTIONAL = ("colpali", "colgemma3")
"""Families whose patches attend to each other in both directions. transformers drops that part
of the mask for flash attention, without a word: the vectors would be others."""

_SAVED = ".modules_to_save.default"
"""How a module that an adapter replaces as a whole is called in the model."""


def load_model(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the model of a checkpoint, ready to encode.

    An adapter is merged into the weights. Tiny models of all families: in float32 that moves a
    number of a vector by less than 1e-6; in bfloat16 vectors stay as near to those of float32
    as with the adapter left apart (mean of 1 - cosine 2.5e-5 either way).

    Args:
        checkpoint: what to load.
        device: where to.
        dtype: of the weights and of the arithmetic.

    Raises:
        EncoderUnavailable: files are missing or damaged, weights are missing or have another
            shape, or memory does not suffice.
    """
    with _reported(checkpoint):
        from colpali_engine import models

        cls = getattr(models, checkpoint.family.model)
        model, info = cls.from_pretrained(
            str(checkpoint.base or checkpoint.folder),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            key_mapping=_names(cls, checkpoint.family),
            dtype=dtype,
            # Straight onto the card, without a copy of all weights in main memory.
            device_map={"": device} if device.type == "cuda" else None,
            attn_implementation=_attention(checkpoint, device, dtype),
            output_loading_info=True,
        )
        missing = set(info["missing_keys"])
        if checkpoint.base is not None:
            missing -= _adapt(model, checkpoint.folder)
        if missing:
            raise EncoderUnavailable(
                f"{checkpoint.name}: the checkpoint lacks weights: {_some(missing)}"
            )
        return model.requires_grad_(False).eval()


def load_processor(checkpoint: Checkpoint, visual_tokens: int) -> Any:
    """Load the processor of a checkpoint; an adapter's own where it has one.

    Args:
        checkpoint: what to load.
        visual_tokens: most patches of a page; 0 where that is no choice.

    Raises:
        EncoderUnavailable: files are missing or damaged.
    """
    family = checkpoint.family
    with _reported(checkpoint):
        from colpali_engine import models

        # Not told whether to trust code that a checkpoint names, transformers asks on stdin.
        processor = getattr(models, family.processor).from_pretrained(
            str(checkpoint.processor), local_files_only=True, trust_remote_code=False
        )
        if visual_tokens:
            _limit(processor.image_processor, family, visual_tokens)
        if not processor.tokenizer.is_fast:
            raise EncoderUnavailable(f"{checkpoint.name}: its tokenizer gives no offsets")
        return processor


def check_pair(model: Any, processor: Any, checkpoint: Checkpoint) -> None:
    """Check that a model and a processor belong together.

    Raises:
        EncoderUnavailable: they call different tokens patches.
    """
    mine, theirs = image_token(checkpoint.family.key, processor), model.config.image_token_id
    if mine != theirs:
        raise EncoderUnavailable(
            f"{checkpoint.name}: token {theirs} stands for a patch in the model, {mine} in the "
            "processor; the files are not of one checkpoint"
        )


def _limit(image_processor: Any, family: Family, visual_tokens: int) -> None:
    """Set the most patches of a page, whatever the checkpoint's files say.

    Copies of published checkpoints say 16,384, which is 20 times the work for vectors that the
    model was not trained to make.
    """
    cell = image_processor.patch_size * image_processor.merge_size
    if cell != family.cell_px:
        raise EncoderUnavailable(f"a patch sees {cell} pixels, not {family.cell_px}")
    most = visual_tokens * cell**2
    least = min(image_processor.size["shortest_edge"], most)
    image_processor.size = {"shortest_edge": least, "longest_edge": most}


def _adapt(model: Any, folder: Path) -> set[str]:
    """Merge an adapter into a model; return the weights that it brings as a whole.

    By transformers, which returns what did not fit; peft, to the same effect, only warns of it.
    Adapters made before transformers 5 name the layers as they were called then: ``names``.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.conversion_mapping import get_model_conversion_mapping

    renamed = getattr(type(model), "_checkpoint_conversion_mapping", {})
    names = get_model_conversion_mapping(model, renamed)
    info = model.load_adapter(
        str(folder),
        download_kwargs={"local_files_only": True},
        use_safetensors=True,
        weight_mapping=names,
    )
    wrong = set(info.missing_keys) | set(info.unexpected_keys)
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if wrong or not layers:
        raise EncoderUnavailable(
            f"{folder.name}: the adapter does not fit its base model"
            + (f": {_some(wrong)}" if wrong else "")
        )
    brought = {name.replace(_SAVED, "") for name, _ in model.named_parameters() if _SAVED in name}
    for layer in layers:
        layer.merge(safe_merge=True)
    _unwrap(model)
    return brought


def _unwrap(model: Any) -> None:
    """Put the plain layers, now merged, back in place of those that peft put around them.

    What is left of peft would keep its matrices in memory and run Python in every layer.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    wrapped = ""
    for name, module in list(model.named_modules()):
        if wrapped and name.startswith(f"{wrapped}."):
            continue
        if isinstance(module, AuxiliaryTrainingWrapper):
            plain = module.unload_and_optionally_merge_module(
                merge=False, safe_merge=False, adapter_names=None
            )
        elif isinstance(module, BaseTunerLayer):
            plain = module.get_base_layer()
        else:
            continue
        model.set_submodule(name, plain)
        wrapped = name
    del model.peft_config
    model._hf_peft_config_loaded = False


def _names(cls: Any, family: Family) -> dict[str, str] | None:
    """Return how weights are renamed that a family's published checkpoints call otherwise."""
    if not family.renames:
        return None
    return {**getattr(cls, "_checkpoint_conversion_mapping", {}), **dict(family.renames)}


def _attention(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> str:
    import torch
    from transformers.utils import is_flash_attn_2_available

    flash = (
        device.type == "cuda"
        and dtype == torch.bfloat16
        and not _looks_both_ways(checkpoint)
        and is_flash_attn_2_available()
    )
    return "flash_attention_2" if flash else "sdpa"


def _looks_both_ways(checkpoint: Checkpoint) -> bool:
    """Say whether tokens attend to those after them, by the family or as the checkpoint says."""
    config = json.loads(((checkpoint.base or checkpoint.folder) / "config.json").read_text("utf-8"))
    says = [part.get("is_causal") for part in (config, config.get("text_config") or {})]
    return checkpoint.family.key in _BIDIRECTIONAL or False in says


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return ", ".join(first) + more


@contextmanager
def _reported(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn what libraries raise into our error, and keep their advice to themselves.

    They advise on generating text, and on missing weights, which are an error here.
    """
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EncoderUnavailable:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):  # their advice, which cannot be followed here
            raise EncoderUnavailable(
                f"{checkpoint.name}: needs code of its own, which patchlight does not run; take "
                "a checkpoint made with colpali-engine"
            ) from error
        raise EncoderUnavailable(
            f"{checkpoint.name}: cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    finally:
        logging.set_verbosity(level)
