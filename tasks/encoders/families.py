"""The families of ColVision models that patchlight runs, as facts about each.

A family is a pair of classes of colpali-engine. Nothing is imported here: what can be said of a
checkpoint without its libraries is said without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VISUAL_TOKENS = 768
"""Patches a page is cut into at most where that is a choice: what colqwen2-v0.1 and
colqwen2.5-v0.1 were trained with (colpali-engine's README)."""

OVERSAMPLING = 4
"""Pixels of a picture for each pixel of the model's input: twice the linear resolution, so that
scaling down has something to average. Beyond that the model sees no more."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of model, and what must be known of it before its weights are loaded.

    Attributes:
        key: our name for it, as in ``FAMILIES``.
        model: the model's class in ``colpali_engine.models``.
        processor: the processor's class there.
        projection: names, in a checkpoint, of the weight that makes the vectors; its first
            dimension is the length of a vector.
        dim: length of a vector that the class is written for; 0 where ``dim`` in the
            checkpoint's config.json says it, 128 if nothing does.
        visual_tokens: most patches of a page unless told otherwise; 0 where their number is
            fixed or follows from tiles and is no choice.
        cell_px: side in pixels of what one patch sees of the model's input; 0 where that input
            has a fixed size.
        input_pixels: pixels of a picture for a fixed input, or one cut into tiles; 0 where
            ``visual_tokens`` decides.
        examples: ids on the hub of checkpoints that work.
        renames: names of weights in published checkpoints that the class does not know:
            regular expression -> replacement, to be given as ``key_mapping`` together with the
            class's own. Unknown names are not an error: those weights stay random.
    """

    key: str
    model: str
    processor: str
    projection: tuple[str, ...]
    dim: int
    visual_tokens: int
    cell_px: int
    input_pixels: int
    examples: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()

    def image_pixels(self, visual_tokens: int) -> int:
        """Return the pixels of a page's picture beyond which the model sees no more.

        Args:
            visual_tokens: most patches of a page; no matter where that is no choice.

        >>> FAMILIES["colqwen2"].image_pixels(768), FAMILIES["colpali"].image_pixels(0)
        (2408448, 802816)
        """
        return (visual_tokens * self.cell_px**2 * OVERSAMPLING) or self.input_pixels


_PROJECTION = ("custom_text_proj.weight",)

_TILED = 2048**2
"""Pixels for the models that scale the longest edge to 2048, up or down, and cut tiles of 512: a
picture with as many has no shorter longest edge, whatever its shape."""

_ALL = (
    Family(
        key="colpali",
        model="ColPali",
        processor="ColPaliProcessor",
        projection=_PROJECTION,
        dim=128,
        visual_tokens=0,
        cell_px=0,
        input_pixels=OVERSAMPLING * 448**2,
        examples=("vidore/colpali-v1.3", "vidore/colpali-v1.2"),
    ),
    Family(
        key="colqwen2",
        model="ColQwen2",
        processor="ColQwen2Processor",
        projection=_PROJECTION,
        dim=128,
        visual_tokens=VISUAL_TOKENS,
        cell_px=28,
        input_pixels=0,
        examples=("vidore/colqwen2-v1.0",),
    ),
    Family(
        key="colqwen2_5",
        model="ColQwen2_5",
        processor="ColQwen2_5_Processor",
        projection=_PROJECTION,
        dim=128,
        visual_tokens=VISUAL_TOKENS,
        cell_px=28,
        input_pixels=0,
        examples=("vidore/colqwen2.5-v0.2",),
    ),
    Family(
        key="colqwen3",
        model="ColQwen3",
        processor="ColQwen3Processor",
        projection=(*_PROJECTION, "embedding_proj_layer.weight"),
        dim=320,
        visual_tokens=VISUAL_TOKENS,
        cell_px=32,
        input_pixels=0,
        examples=("TomoroAI/tomoro-colqwen3-embed-4b",),
        # Tomoro's names; colpali-engine 0.3.18 has them on a branch only.
        renames=((r"^vlm\.model\.", ""), (r"^embedding_proj_layer", "custom_text_proj")),
    ),
    Family(
        key="colqwen3_5",
        model="ColQwen3_5",
        processor="ColQwen3_5Processor",
        projection=_PROJECTION,
        dim=0,
        visual_tokens=VISUAL_TOKENS,
        cell_px=32,
        input_pixels=0,
        examples=("athrael-soju/colqwen3.5-4.5B-v3",),
    ),
    Family(
        key="colidefics3",
        model="ColIdefics3",
        processor="ColIdefics3Processor",
        projection=("linear.weight",),
        dim=128,
        visual_tokens=0,
        cell_px=0,
        input_pixels=_TILED,
        examples=("vidore/colSmol-256M", "vidore/colSmol-500M"),
    ),
    Family(
        key="colmodernvbert",
        model="ColModernVBert",
        processor="ColModernVBertProcessor",
        projection=_PROJECTION,
        dim=128,
        visual_tokens=0,
        cell_px=0,
        input_pixels=_TILED,
        examples=("ModernVBERT/colmodernvbert",),
    ),
    Family(
        key="colgemma3",
        model="ColGemma3",
        processor="ColGemmaProcessor3",
        projection=_PROJECTION,
        dim=128,
        visual_tokens=0,
        cell_px=0,
        input_pixels=OVERSAMPLING * 896**2,
        examples=("Cognitive-Lab/ColNetraEmbed",),
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.key: family for family in _ALL})
"""Every family by its key."""
