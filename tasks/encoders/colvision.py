"""The vision encoders: the ColVision models of colpali-engine.

A model cuts the picture of a page into patches and gives each one vector, and each token of a
query one; late interaction compares them. ``families`` says which models there are,
``checkpoints`` finds their files, ``weights`` loads them, ``features`` and ``querytokens`` prepare
what they read, ``batching`` feeds one model from many callers, and ``grids`` says where on the
page a vector lies. torch and the libraries on it are imported when an encoder is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from storage.records import (
    EncoderIdentity,
    FloatArray,
    PageEncoding,
    PageInput,
    QueryEncoding,
    TermStatistics,
)
from tasks.encoders import checkpoints, memory, weights
from tasks.encoders.batching import Batcher
from tasks.encoders.features import PageFeatures, PagePreparer, Prepared, QueryFeatures, collate
from tasks.encoders.grids import Layout, layout_reader
from tasks.encoders.protocol import EncoderInfo
from tasks.encoders.querytokens import QueryPreparer
from tasks.errors import EncoderUnavailable, EncodingFailed, SourceError, Stage, UsageError

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Raised with every change that moves a vector or a patch."""

LEAST_VISUAL_TOKENS, MOST_VISUAL_TOKENS = 64, 16_384
"""Range of the most patches a page may be cut into. Fewer cannot hold a strip of a page; more
than the models' own limit they have never seen."""

_WAITING = 64
"""Most pages that are ready and wait for the model, where a batch has as many: 1 to 2 GB of
pixels."""

_QUERIES_AT_ONCE = 64
"""Queries whose tokens are made together; they are padded to the longest."""

_EXTRA_ARGUMENTS: dict[str, dict[str, Any]] = {
    # Its class computes scores of all words of the language for each token: 1 GB a page.
    "colpali": {"logits_to_keep": 1, "use_cache": False},
    "colidefics3": {"use_cache": False},
}
"""What spares a family's model work that does not change its vectors."""


def describe(name: str, visual_tokens: int | None = None) -> EncoderInfo:
    """Say what a checkpoint is as an encoder, without loading it; may fetch its files.

    Args:
        name: as ``checkpoints.resolve`` takes it.
        visual_tokens: most patches a page is cut into; None for the family's own number.

    Raises:
        EncoderUnavailable: there is no such checkpoint, or it is of no family known here.
        UsageError: ``visual_tokens`` is out of range, or no choice for this checkpoint.
    """
    return _described(checkpoints.resolve(name), visual_tokens)


def load(
    info: EncoderInfo,
    *,
    device: str | None = None,
    threads: int | None = None,
    batch_tokens: int | None = None,
) -> ColVisionEncoder:
    """Load an encoder.

    Args:
        info: from ``describe``, here or on another machine.
        device: ``cuda`` or ``cpu``; None for a GPU where there is one.
        threads: of the CPU's arithmetic, for the whole process; None for torch's own number.
        batch_tokens: most tokens of a batch; None for what the memory at hand allows.

    Raises:
        EncoderUnavailable: it cannot be loaded here, or this machine holds other weights.
    """
    checkpoints.needs_engine()
    name, tokens = info.identity.name, info.identity.visual_tokens
    checkpoint = checkpoints.resolve(name)
    here = _described(checkpoint, tokens or None)
    if here.identity.fingerprint != info.identity.fingerprint:
        raise EncoderUnavailable(
            f"{name}: this machine holds other weights ({here.identity.fingerprint}) than those "
            f"asked for ({info.identity.fingerprint})"
        )
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    where = torch.device(device or ("cuda" if cuda else "cpu"))
    if where.type == "cuda" and not cuda:
        raise EncoderUnavailable(f"{name}: there is no GPU that torch can use here")
    return ColVisionEncoder(info, checkpoint, where, batch_tokens)


def _described(checkpoint: checkpoints.Checkpoint, visual_tokens: int | None) -> EncoderInfo:
    family = checkpoint.family
    if visual_tokens is None:
        visual_tokens = family.visual_tokens
    elif not family.visual_tokens:
        raise UsageError(
            f"--visual-tokens {visual_tokens}: {family.model} cuts every page in the same way; "
            "leave the option out"
        )
    elif not LEAST_VISUAL_TOKENS <= visual_tokens <= MOST_VISUAL_TOKENS:
        raise UsageError(
            f"--visual-tokens {visual_tokens}: give {LEAST_VISUAL_TOKENS} to {MOST_VISUAL_TOKENS}"
        )
    limit = f"/{visual_tokens} tokens" if visual_tokens else ""
    return EncoderInfo(
        EncoderIdentity(
            checkpoint.name,
            f"{family.key}-{VERSION}/{checkpoint.digest}{limit}",
            checkpoint.dim,
            visual_tokens,
        ),
        needs_image=True,
        needs_words=False,
        wants_gpu=True,
        image_pixels=family.image_pixels(visual_tokens),
        weight_bytes=4 * checkpoint.parameters,
    )


class ColVisionEncoder:
    """Encodes pages from their pictures, and queries; made by ``load``.

    On a CPU, in float32, a page's vectors are the same to 1e-5 in any batch. On a GPU the
    arithmetic is in bfloat16 where the card has it.

    Attributes:
        info: what it is.
    """

    def __init__(
        self,
        info: EncoderInfo,
        checkpoint: checkpoints.Checkpoint,
        device: torch.device,
        batch_tokens: int | None,
    ) -> None:
        """Load the weights and find out how large a batch may be."""
        import torch

        self.info = info
        self._device = device
        family = checkpoint.family.key
        bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(False)
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        processor = weights.load_processor(checkpoint, info.identity.visual_tokens)
        self._model = weights.load_model(checkpoint, device, dtype)
        weights.check_pair(self._model, processor, checkpoint)
        self._extra = _EXTRA_ARGUMENTS.get(family, {})
        self._pad_id = int(processor.tokenizer.pad_token_id)
        self._pad_left = processor.tokenizer.padding_side == "left"
        text = self._model.config.get_text_config()
        self._queries = QueryPreparer(family, processor, text.max_position_embeddings)
        self._pages = PagePreparer(processor, layout_reader(family, processor), device, dtype)
        # Also sets up the tokenizer, which is not to be changed by several threads at once.
        self._forward(self._queries.prepare(["warm up"]))
        page = self._pages.prepare(_blank_page(info.image_pixels))
        budget = batch_tokens or self._budget(page)
        self._batcher: Batcher[Prepared, PageEncoding | QueryEncoding] = Batcher(
            self._encode,
            budget=budget,
            waiting=max(2, min(budget // page.tokens, _WAITING)),
            out_of_memory=memory.out_of_memory,
            relieve=partial(memory.relieve, device),
        )

    def encode_pages(self, pages: Sequence[PageInput]) -> list[PageEncoding | Exception]:
        """Encode pages; several threads may call this at once and share batches.

        Returns:
            For each page, in order: a vector for every cell of its grid, in raster order, then
            those of tokens that see the whole page and belong to no cell. Or why it has none.

        Raises:
            EncoderUnavailable: the encoder was closed, or its GPU failed.
        """
        jobs = [partial(self._prepared, page) for page in pages]
        return [
            _failure(output) if isinstance(output, Exception) else cast(PageEncoding, output)
            for output in self._batcher.encode(jobs)
        ]

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None = None
    ) -> list[QueryEncoding]:
        """Encode queries, with the prompt and augmentation tokens of the library.

        Args:
            queries: questions as asked.
            statistics: not used; every token weighs 1.

        Raises:
            ValueError: a query holds no letter and no digit, or is too long.
            EncoderUnavailable: the encoder was closed, or its GPU failed.
        """
        encoded: list[QueryEncoding] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            prepared = self._queries.prepare(queries[first : first + _QUERIES_AT_ONCE])
            for output in self._batcher.encode(partial(_itself, query) for query in prepared):
                if isinstance(output, Exception):
                    raise EncoderUnavailable(f"a query cannot be encoded: {_failure(output)}")
                encoded.append(cast(QueryEncoding, output))
        return encoded

    def close(self) -> None:
        """Stop; calls under way end with ``EncoderUnavailable``. The weights are let go."""
        self._batcher.close()
        self._model = None
        memory.relieve(self._device)

    def _prepared(self, page: PageInput) -> PageFeatures:
        features = self._pages.prepare(page)
        cells, most = len(features.layout.patches), self.info.identity.visual_tokens
        if most and cells > most:  # a strip so narrow that one row of cells is too many
            raise EncodingFailed(
                f"the page's shape takes {cells} patches, and {most} are allowed; "
                "raise --visual-tokens",
                Stage.ENCODE,
            )
        return features

    def _encode(self, items: list[Prepared]) -> list[PageEncoding | QueryEncoding | Exception]:
        """Run the model on a batch; called by the batcher's thread alone."""
        try:
            vectors = self._forward(items)
        except Exception as error:
            if not memory.out_of_memory(error) and not self._device_works():
                raise EncoderUnavailable(f"the GPU stopped working: {error}") from None
            raise
        longest = vectors.shape[1]
        outputs: list[PageEncoding | QueryEncoding | Exception] = []
        for item, padded in zip(items, vectors, strict=True):
            start = longest - item.tokens if self._pad_left else 0
            outputs.append(_encoding(item, padded[start : start + item.tokens]))
        return outputs

    def _forward(self, items: Sequence[Prepared]) -> FloatArray:
        """Return (items, longest, dim) float32 unit vectors of a batch, padding included."""
        import torch

        with torch.inference_mode():
            batch = collate(items, self._pad_id, self._pad_left, self._device)
            output = self._model(**batch, **self._extra)
            # In bfloat16 the library's own normalisation is off by up to 0.4 %.
            vectors = torch.nn.functional.normalize(output.float(), dim=-1).cpu().numpy()
        expected = (*batch["input_ids"].shape, self.info.identity.dim)
        if vectors.shape != expected:
            raise EncoderUnavailable(
                f"{self.info.identity.name}: the model gave vectors of shape {vectors.shape} "
                f"where {expected} was expected"
            )
        return cast(FloatArray, vectors)

    def _budget(self, page: PageFeatures) -> int:
        """Return the tokens of a batch that the memory at hand allows."""
        if self._device.type != "cuda":
            return memory.CPU_TOKENS
        import torch

        size = sum(tensor.nbytes for tensor in page.tensors.values() if tensor.is_cuda)
        try:
            return memory.find_budget(
                lambda pages: self._forward(pages * [page]), page.tokens, size
            )
        except torch.OutOfMemoryError as error:
            raise EncoderUnavailable(
                f"{self.info.identity.name}: the GPU has too little memory for one page ({error})"
            ) from None

    def _device_works(self) -> bool:
        """Say whether the device still computes: after some errors a GPU does no more."""
        import torch

        try:
            return float(torch.ones(1, device=self._device).sum()) == 1
        except RuntimeError:
            return False


def _encoding(item: Prepared, vectors: FloatArray) -> PageEncoding | QueryEncoding | Exception:
    """Make the encoding of an item from the (tokens, dim) vectors of its sequence."""
    if isinstance(item, QueryFeatures):
        if not _unit(vectors):
            return EncodingFailed("the model gave no finite vectors for the query", Stage.ENCODE)
        weights = np.ones(len(vectors), dtype=np.float32)
        return QueryEncoding(item.words, vectors.copy(), weights, item.meaning)
    layout: Layout = item.layout
    own = vectors[np.concatenate([layout.patches, layout.extra])]
    if not _unit(own):
        return EncodingFailed("the model gave no finite vectors for the page", Stage.ENCODE)
    cells = np.arange(len(layout.patches), dtype=np.int32)
    return PageEncoding(layout.rows, layout.cols, own, cells)


def _unit(vectors: FloatArray) -> bool:
    """Say whether all rows have length 1; false for what is not finite."""
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3).all())


def _failure(error: Exception) -> Exception:
    """Return a page's error as one that says where it happened."""
    if isinstance(error, SourceError):
        return error
    return EncodingFailed(f"the model failed ({type(error).__name__}: {error})", Stage.ENCODE)


def _blank_page(pixels: int) -> PageInput:
    """Return a white square of so many pixels: no page has more patches, or tiles."""
    side = math.isqrt(pixels)
    return PageInput((), np.full((side, side, 3), 255, dtype=np.uint8), 595, 595)


def _itself(query: QueryFeatures) -> Prepared:
    return query
