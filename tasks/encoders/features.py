"""What a ColVision model is given: pages and queries as tensors, one by one and in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from patchlight.storage.pages import PageInput
from patchlight.storage.records import BoolArray
from patchlight.tasks.common.errors import EncodingFailed, OutOfMemory, Stage, TooLarge
from patchlight.tasks.encoders.grids import Layout, LayoutOf
from patchlight.tasks.encoders.memory import PAUSE_S, out_of_memory, relieve

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]

_SEQUENCES = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
"""Tensors of shape (1, tokens); the others are of a picture."""

_UNUSED = ("labels", "pixel_attention_mask")
"""What a processor makes and a model need not have. Labels are for training, and have ColPali
compute a loss over its vocabulary, about 1 GB a page. The mask of pixels is all ones, which
``grids`` has checked, and is what the model takes when there is none."""

MOST_STRETCH = 200
"""How many times as long as wide a picture may be for Qwen's processor."""


@dataclass(frozen=True, slots=True)
class PageFeatures:
    """A page, ready for the model.

    Attributes:
        tensors: name -> tensor, first dimension 1.
        layout: where its patches are in the sequence.
    """

    tensors: Tensors
    layout: Layout
    kind: str = "page"

    @property
    def tokens(self) -> int:
        """Length of the sequence."""
        return int(self.tensors["input_ids"].shape[1])


@dataclass(frozen=True, slots=True)
class QueryFeatures:
    """A query, ready for the model.

    Attributes:
        tensors: name -> tensor, first dimension 1; nothing padded.
        words: the tokens as text.
        meaning: (tokens,) bool, those that carry meaning.
    """

    tensors: Tensors
    words: tuple[str, ...]
    meaning: BoolArray
    kind: str = "query"

    @property
    def tokens(self) -> int:
        """Length of the sequence."""
        return len(self.words)


Prepared = PageFeatures | QueryFeatures


class PagePreparer:
    """Makes features of pages; may be called from several threads at once.

    On a GPU pictures are scaled there: on the CPU that takes 0.15 s of a core for a page in
    tiles, and one card encodes more pages than ten cores prepare. What comes of it differs from
    the CPU's by rounding. The filter that pages in tiles are scaled with exists for the CPU only
    (transformers would take another one), so that step stays there.
    """

    def __init__(
        self,
        processor: Any,
        layout_of: LayoutOf,
        device: torch.device,
        dtype: torch.dtype,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Set the processor up for a device.

        Args:
            processor: of the checkpoint.
            layout_of: reads the layouts of pages that it prepared.
            device: where the model is.
            dtype: what the model computes in; it casts pixels to it first of all.
            pause_s: seconds between the two tries of a page for which memory ran out.
        """
        self._processor = processor
        self._layout_of = layout_of
        self._device = device
        self._dtype = dtype
        self._pause_s = pause_s
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            import torch

            # A queue of its own on the card: in the model's, each step waits for a whole batch.
            self._stream = torch.cuda.Stream(device)
            image_processor = processor.image_processor
            image_processor.device = device
            if image_processor.resample == Image.Resampling.LANCZOS:
                image_processor.resize = _on_cpu(image_processor.resize)

    def prepare(self, page: PageInput) -> PageFeatures:
        """Make the features of a page.

        Raises:
            EncodingFailed: the page has no picture, or one that the processor does not take.
            TooLarge: it is too long a strip for the model.
            OutOfMemory: memory does not suffice, tried twice.
        """
        if page.image is None:
            raise EncodingFailed("the page came without its picture", Stage.ENCODE)
        picture = Image.fromarray(page.image)
        for last in (False, True):  # memory may be short while a batch runs
            try:
                return self._on_stream(picture)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
            except ValueError as error:
                raise _refused(picture, error) from error
            relieve(self._device)
            if not last:
                time.sleep(self._pause_s)
        raise OutOfMemory(
            f"memory ran out preparing a picture of {_size(picture)}, twice; if another process "
            "uses the card or the memory, end it and try again, else take a machine with more",
            Stage.ENCODE,
        )

    def _on_stream(self, picture: Image.Image) -> PageFeatures:
        if self._stream is None:
            return self._features(picture)
        import torch

        with torch.cuda.stream(self._stream):
            features = self._features(picture)
        self._stream.synchronize()
        for tensor in features.tensors.values():
            if tensor.is_cuda:  # its memory is not free before the model's stream is done with it
                tensor.record_stream(torch.cuda.current_stream(self._device))
        return features

    def _features(self, picture: Image.Image) -> PageFeatures:
        made = self._processor.process_images([picture])
        layout = self._layout_of(made["input_ids"][0].numpy(), made)
        tensors = {
            name: tensor.to(self._dtype) if tensor.is_floating_point() else tensor
            for name, tensor in made.items()
            if name not in _UNUSED
        }
        return PageFeatures(tensors, layout)


def _refused(picture: Image.Image, error: ValueError) -> TooLarge | EncodingFailed:
    """Return why a processor does not take a picture."""
    said = f"the page cannot be prepared, {_size(picture)}: {error}"
    if max(picture.size) > MOST_STRETCH * min(picture.size):
        return TooLarge(f"{said}; cut the page into parts that are less long", Stage.ENCODE)
    return EncodingFailed(said, Stage.ENCODE)


def _size(picture: Image.Image) -> str:
    return f"{picture.width} x {picture.height} pixels"


def _on_cpu(resize: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def resized(image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return resize(image.cpu(), *args, **kwargs).to(image.device)

    return resized


def collate(
    items: Sequence[Prepared], pad_id: int, pad_left: bool, device: torch.device
) -> dict[str, torch.Tensor]:
    """Join features to a batch, padded as the library's processors pad.

    Args:
        items: n pages or n queries, not empty.
        pad_id: token that sequences are padded with.
        pad_left: whether in front rather than at the end.
        device: where the batch goes.

    Returns:
        name -> tensor, first dimension n. Sequences are padded to the longest, pixels with zeros
        in their second dimension (patches, or tiles) to the most.
    """
    return {
        name: _stack(
            [item.tensors[name] for item in items],
            pad_id if name == "input_ids" else 0,
            pad_left and name in _SEQUENCES,
        ).to(device, non_blocking=True)
        for name in items[0].tensors
    }


def _stack(parts: list[torch.Tensor], value: int, left: bool) -> torch.Tensor:
    """Join n tensors (1, m, ...) with m of their own to (n, largest m, ...)."""
    first = parts[0]
    if len(parts) == 1:
        return first
    most = max(part.shape[1] for part in parts)
    whole = first.new_full((len(parts), most, *first.shape[2:]), value)
    for row, part in zip(whole, parts, strict=True):
        length = part.shape[1]
        start = most - length if left else 0
        row[start : start + length] = part[0]
    return whole
