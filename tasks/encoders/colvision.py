"""The vision encoders: the ColVision models of colpali-engine.

A model cuts the picture of a page into patches and gives each one vector, and each token of a
query one; late interaction compares them. ``families`` says which models there are,
``checkpoints`` finds their files, ``weights`` loads them, ``features`` and ``querytokens`` prepare
what they read, ``batching`` feeds one model from many callers, and ``grids`` says where on the
page a vector lies. torch and the libraries on it are imported when an encoder is loaded.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from patchlight.storage.pages import PageInput
from patchlight.storage.records import (
    EncoderIdentity,
    FloatArray,
    PageEncoding,
    QueryEncoding,
    TermStatistics,
)
from patchlight.storage.regions import NO_REGIONS
from patchlight.tasks.common.errors import (
    DeviceLost,
    EncoderUnavailable,
    EncodingFailed,
    OutOfMemory,
    SourceError,
    Stage,
    TooLarge,
    UsageError,
)
from patchlight.tasks.encoders import checkpoints, memory, weights
from patchlight.tasks.encoders.batching import Batcher
from patchlight.tasks.encoders.families import Family
from patchlight.tasks.encoders.features import (
    MOST_STRETCH,
    PageFeatures,
    PagePreparer,
    Prepared,
    QueryFeatures,
    collate,
)
from patchlight.tasks.encoders.grids import Layout, layout_reader
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.encoders.querytokens import QueryPreparer

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Raised with every change that moves a vector or a patch."""

LEAST_VISUAL_TOKENS, MOST_VISUAL_TOKENS = 64, 16_384
"""Range of the most patches a page may be cut into. Fewer cannot hold a strip of a page; more
than the models' own limit they have never seen."""

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
    gpu_share: float = 1.0,
) -> ColVisionEncoder:
    """Load an encoder.

    Args:
        info: from ``describe``, here or on another machine.
        device: ``cuda`` or ``cpu``; None for a GPU where there is one.
        threads: of the CPU's arithmetic, for the whole process; None for torch's own number.
        batch_tokens: most tokens of a batch; None for what the memory at hand allows, which is
            measured on the first page.
        gpu_share: part of the GPU's memory that this process may take, above 0 and at most 1.

    Raises:
        DeviceLost: the GPU failed; a new process may load it.
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
    if where.type == "cuda":
        if where.index is None:
            where = torch.device("cuda", torch.cuda.current_device())
        memory.limit_to_share(where, gpu_share)
    return ColVisionEncoder(info, checkpoint, where, batch_tokens, gpu_share)


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


@dataclass(frozen=True, slots=True)
class _Output:
    """What the model made of an item.

    Attributes:
        item: of what.
        padded: its vectors in the batch, padding included.
    """

    item: Prepared
    padded: FloatArray


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
        gpu_share: float,
    ) -> None:
        """Load the weights and try them on a query."""
        import torch

        self.info = info
        self._device = device
        self._gpu_share = gpu_share
        self._family = checkpoint.family
        family = checkpoint.family.key
        bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(False)
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        processor = weights.load_processor(checkpoint, info.identity.visual_tokens)
        with self._device_watched():
            self._model = weights.load_model(checkpoint, device, dtype)
        weights.check_pair(self._model, processor, checkpoint)
        self._extra = _EXTRA_ARGUMENTS.get(family, {})
        self._pad_id = int(processor.tokenizer.pad_token_id)
        self._pad_left = processor.tokenizer.padding_side == "left"
        text = self._model.config.get_text_config()
        self._queries = QueryPreparer(family, processor, text.max_position_embeddings)
        self._pages = PagePreparer(processor, layout_reader(family, processor), device, dtype)
        # Also sets up the tokenizer, which is not to be changed by several threads at once.
        (warm_up,) = self._queries.prepare(["warm up"])
        if isinstance(warm_up, Exception):
            raise EncoderUnavailable(f"{info.identity.name}: {warm_up}")
        with self._device_watched():
            self._forward([warm_up])
        on_card = memory.FIRST_TOKENS if device.type == "cuda" else memory.CPU_TOKENS
        self._measured = device.type != "cuda" or batch_tokens is not None
        self._batcher: Batcher[Prepared, _Output] = Batcher(
            self._encode,
            budget=batch_tokens or on_card,
            out_of_memory=memory.out_of_memory,
            relieve=partial(memory.relieve, device),
            pause_s=memory.PAUSE_S,
        )

    def encode_pages(self, pages: Sequence[PageInput]) -> list[PageEncoding | Exception]:
        """Encode pages; several threads may call this at once and share batches.

        Returns:
            For each page, in order: a vector for every cell of its grid, in raster order, then
            those of tokens that see the whole page and belong to no cell. Or why it has none.

        Raises:
            DeviceLost: the GPU, or the thread that runs the model, works no more; a new process
                may encode the pages.
            EncoderUnavailable: the encoder was closed, or the GPU is too small for one page.
        """
        outputs = self._batcher.encode(partial(self._prepared, page) for page in pages)
        return [cast("PageEncoding | Exception", self._finished(output)) for output in outputs]

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None = None
    ) -> list[QueryEncoding | Exception]:
        """Encode queries, with the prompt and augmentation tokens of the library.

        Args:
            queries: questions as asked.
            statistics: not used; every token weighs 1.

        Returns:
            For each query, in order, its encoding, or why it has none: a ``ValueError`` if it
            holds no letter and no digit, or is too long.

        Raises:
            DeviceLost: as for pages.
            EncoderUnavailable: the encoder was closed.
        """
        encoded: list[QueryEncoding | Exception] = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            prepared = self._queries.prepare(queries[first : first + _QUERIES_AT_ONCE])
            ready = [query for query in prepared if isinstance(query, QueryFeatures)]
            outputs = iter(self._batcher.encode(partial(_itself, query) for query in ready))
            for query in prepared:
                outcome = query if isinstance(query, Exception) else self._finished(next(outputs))
                encoded.append(cast("QueryEncoding | Exception", outcome))
        return encoded

    def close(self) -> None:
        """Stop; calls under way end with ``EncoderUnavailable``. The weights are let go."""
        self._batcher.close()
        self._model = None
        with contextlib.suppress(RuntimeError):  # of a GPU that failed
            memory.relieve(self._device)

    def _prepared(self, page: PageInput) -> PageFeatures:
        # If the GPU failed, no page would get as far as the model's thread, which looks too.
        with self._device_watched():
            features = self._pages.prepare(page)
        cells, most = len(features.layout.patches), self.info.identity.visual_tokens
        if most and cells > most:  # a strip so narrow that one row of cells is too many
            raise TooLarge(
                f"the page is too long and narrow: it takes {cells} patches, and {most} are "
                "allowed; cut it into parts, or ingest it into a new --db with more "
                "--visual-tokens (an existing database keeps its number)",
                Stage.ENCODE,
            )
        return features

    def _encode(self, items: list[Prepared]) -> list[_Output | Exception]:
        """Run the model on a batch; called by the batcher's thread alone.

        What else there is to do with the vectors is done by the callers' threads, while the model
        works on the next batch.
        """
        with self._device_watched():
            if not self._measured and isinstance(items[0], PageFeatures):
                self._batcher.set_budget(self._budget())
                self._measured = True
            vectors = self._forward(items)
        return [_Output(item, row) for item, row in zip(items, vectors, strict=True)]

    def _finished(self, output: _Output | Exception) -> PageEncoding | QueryEncoding | Exception:
        """Make the encoding of what came out of the model; called by the callers' threads."""
        if isinstance(output, Exception):
            return _failure(output)
        try:
            tokens = output.item.tokens
            start = len(output.padded) - tokens if self._pad_left else 0
            return _encoding(output.item, output.padded[start : start + tokens])
        except Exception as error:
            return _failure(error)

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

    def _budget(self) -> int:
        """Return the tokens of a batch that the memory of the card allows."""
        short: Exception | None = None
        for _ in range(2):
            if short is not None:  # by another process, and for a moment, it may be
                memory.relieve(self._device)
                time.sleep(memory.PAUSE_S)
            try:
                page = self._pages.prepare(
                    _largest_page(self._family, self.info.identity.visual_tokens)
                )
                size = sum(tensor.nbytes for tensor in page.tensors.values() if tensor.is_cuda)
                run = partial(_times, self._forward, page)
                return memory.find_budget(run, page.tokens, size, self._device, self._gpu_share)
            except Exception as error:
                if not isinstance(error, OutOfMemory) and not memory.out_of_memory(error):
                    raise
                short = error.with_traceback(None)  # its frames hold tensors
        raise EncoderUnavailable(
            f"{self.info.identity.name}: the GPU has too little memory for one page ({short})"
        )

    @contextlib.contextmanager
    def _device_watched(self) -> Iterator[None]:
        """Tell errors after which the GPU computes no more in this process from others.

        Raises:
            DeviceLost: the GPU computes no more.
        """
        try:
            yield
        except Exception as error:
            if memory.out_of_memory(error) or self._device_works():
                raise
            problem = f"the GPU stopped working ({type(error).__name__}: {error})"
            raise DeviceLost(problem) from error

    def _device_works(self) -> bool:
        """Say whether the device still computes: after some errors a GPU does no more."""
        import torch

        try:
            return float(torch.ones(1, device=self._device).sum()) == 1
        except RuntimeError as error:
            return memory.out_of_memory(error)


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
    """Return an item's error as one that says where it happened."""
    if isinstance(error, SourceError):
        return error
    said = f"({type(error).__name__}: {error})"
    if memory.out_of_memory(error):
        return OutOfMemory(f"memory ran out after the model was run {said}", Stage.ENCODE)
    return EncodingFailed(f"the model failed {said}", Stage.ENCODE)


def _largest_page(family: Family, visual_tokens: int) -> PageInput:
    """Return a white page of which a family makes as many patches as of any.

    Where it cuts a page into as many cells of one size as are allowed, that is the grid with most
    of them, the nearest to a square: 24 x 32 for 768, where a square has 27 x 27. Otherwise all
    pages have the same number, or those in tiles most in a square.
    """
    if family.cell_px:
        least = math.ceil(math.sqrt(visual_tokens / MOST_STRETCH))
        sides = range(math.isqrt(visual_tokens), least - 1, -1)
        rows = max(sides, key=lambda side: side * (visual_tokens // side))
        height, width = rows * family.cell_px, visual_tokens // rows * family.cell_px
    else:
        height = width = math.isqrt(family.input_pixels)
    return PageInput(NO_REGIONS, np.full((height, width, 3), 255, dtype=np.uint8), width, height)


def _itself(query: QueryFeatures) -> Prepared:
    return query


def _times(run: Callable[[Sequence[Prepared]], object], page: PageFeatures, pages: int) -> object:
    return run([page] * pages)
