"""Guards the vision encoders: all families, from a checkpoint's folder to vectors on the page.

The checkpoints are tiny and random. What a patch shows still moves its vector most, so the place
of a drawn cell can be found, and everything a family does to tokens, tiles and masks is done.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")

import torch
from colpali_engine import models
from PIL import Image
from safetensors.torch import load_file, save_file

from storage.records import PageEncoding, PageInput, QueryEncoding
from tasks.encoders import colvision, grids, memory
from tasks.encoders.colvision import ColVisionEncoder
from tasks.encoders.families import FAMILIES
from tasks.encoders.features import collate
from tasks.encoders.querytokens import QueryPreparer, has_meaning
from tasks.errors import (
    DeviceLost,
    EncoderUnavailable,
    EncodingFailed,
    OutOfMemory,
    TooLarge,
    UsageError,
)
from tests import tiny_checkpoints

BATCH_TOLERANCE = 1e-5
"""How far a vector's numbers may be from those of another batch, in float32; 2e-7 was measured."""

A4, LANDSCAPE, STRIP, SQUARE = (827, 1169), (1169, 827), (2000, 260), (900, 900)
GRIDS = {
    "colpali": [(32, 32)] * 4,
    "colqwen2": [(32, 23), (23, 32), (9, 71), (27, 27)],
    "colqwen2_5": [(32, 23), (23, 32), (9, 71), (27, 27)],
    "colqwen3": [(32, 23), (23, 32), (8, 62), (27, 27)],
    "colqwen3_5": [(32, 23), (23, 32), (8, 62), (27, 27)],
    "colidefics3": [(32, 24), (24, 32), (8, 32), (32, 32)],
    "colmodernvbert": [(32, 24), (24, 32), (8, 32), (32, 32)],
    "colgemma3": [(16, 16)] * 4,
}
TILED = ("colidefics3", "colmodernvbert")
DIMS = {"colqwen3": 320, "colqwen3_5": 320}

each_family = pytest.mark.parametrize("family", FAMILIES)


class Shelf:
    """Builds checkpoints and loads encoders when they are first asked for, and closes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loaded: dict[tuple[Path, int | None], ColVisionEncoder] = {}

    def folder(self, family: str) -> Path:
        place = self.root / family
        return place if place.exists() else tiny_checkpoints.build(family, place)

    def adapter(self, family: str) -> Path:
        place = self.root / f"{family}-adapter"
        base = self.folder(family)
        return place if place.exists() else tiny_checkpoints.adapter(family, base, place)

    def changed(self, family: str, name: str) -> Path:
        """A copy of a family's checkpoint to spoil."""
        place = self.root / f"{family}-{name}"
        shutil.copytree(self.folder(family), place)
        return place

    def load(self, folder: Path, visual_tokens: int | None = None) -> ColVisionEncoder:
        key = folder, visual_tokens
        if key not in self.loaded:
            info = colvision.describe(str(folder), visual_tokens)
            self.loaded[key] = colvision.load(info, device="cpu", threads=2, batch_tokens=3000)
        return self.loaded[key]

    def encoder(self, family: str) -> ColVisionEncoder:
        return self.load(self.folder(family))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path_factory.mktemp("checkpoints"))
    yield shelf
    for encoder in shelf.loaded.values():
        encoder.close()


def page(size: tuple[int, int], seed: int | None = None) -> PageInput:
    """A page of noise, or a white one."""
    width, height = size
    if seed is None:
        image = np.full((height, width, 3), 255, dtype=np.uint8)
    else:
        draw = np.random.default_rng(seed)
        image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PageInput((), image, width * 0.6, height * 0.6)


def inked(size: tuple[int, int], grid: tuple[int, int], cell: tuple[int, int]) -> PageInput:
    """A white page with one cell of a grid filled, but for a margin of a fifth."""
    drawn = page(size)
    assert drawn.image is not None
    low = [int((c + 0.2) * s / n) for c, s, n in zip(cell, size[::-1], grid, strict=True)]
    high = [int((c + 0.8) * s / n) for c, s, n in zip(cell, size[::-1], grid, strict=True)]
    drawn.image[low[0] : high[0], low[1] : high[1]] = 0
    return drawn


def encoded(encoder: ColVisionEncoder, *pages: PageInput) -> list[PageEncoding]:
    encodings = []
    for outcome in encoder.encode_pages(pages):
        assert isinstance(outcome, PageEncoding), outcome
        encodings.append(outcome)
    return encodings


def found_ink(encoder: ColVisionEncoder, size: tuple[int, int], cell: tuple[int, int]) -> Any:
    """Return the cell whose vector moves most when one cell of a white page is filled."""
    (white,) = encoded(encoder, page(size))
    grid = white.rows, white.cols
    (drawn,) = encoded(encoder, inked(size, grid, cell))
    moved = np.linalg.norm(drawn.vectors - white.vectors, axis=1)[white.cell_to_vector]
    return divmod(int(moved.argmax()), white.cols)


@each_family
def test_grid_dimension_and_length_of_vectors(shelf: Shelf, family: str) -> None:
    encoder = shelf.encoder(family)
    pages = [page(size, seed=1) for size in (A4, LANDSCAPE, STRIP, SQUARE)]
    encodings = encoded(encoder, *pages)
    assert [(e.rows, e.cols) for e in encodings] == GRIDS[family]
    for encoding in encodings:
        cells = encoding.rows * encoding.cols
        # The small picture of the whole page counts for the page and has no place on the grid.
        assert len(encoding.vectors) == cells + (64 if family in TILED else 0)
        assert np.array_equal(encoding.cell_to_vector, np.arange(cells))
        assert encoding.vectors.dtype == np.float32
        assert encoding.vectors.shape[1] == encoder.info.identity.dim == DIMS.get(family, 128)
        assert np.allclose(np.linalg.norm(encoding.vectors, axis=1), 1, atol=1e-6)


@each_family
def test_ink_is_found_in_its_cell(shelf: Shelf, family: str) -> None:
    encoder = shelf.encoder(family)
    for size, (rows, cols) in zip((A4, LANDSCAPE, STRIP, SQUARE), GRIDS[family], strict=True):
        cell = rows // 3, 2 * cols // 3 + 1
        assert found_ink(encoder, size, cell) == cell, f"on a page of {size}"


def test_ink_is_not_found_when_tiles_are_taken_for_rows(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe bites: with the vectors in the order of the sequence the cell is missed."""
    encoder = shelf.encoder("colidefics3")
    monkeypatch.setattr(
        grids, "tiles_to_page", lambda rows, cols, side: np.arange(rows * cols * side**2)
    )
    assert found_ink(encoder, A4, (10, 17)) != (10, 17)


@each_family
def test_a_page_is_the_same_in_any_company(shelf: Shelf, family: str) -> None:
    encoder = shelf.encoder(family)
    pages = [page(size, seed=n) for n, size in enumerate((A4, LANDSCAPE, STRIP, SQUARE))]
    alone = [encoded(encoder, one)[0] for one in pages]
    outputs = encoder._encode([encoder._pages.prepare(one) for one in pages])
    together = [encoder._finished(output) for output in outputs]
    with ThreadPoolExecutor(3) as callers:
        orders = [pages, pages[::-1], pages]
        threaded = list(callers.map(lambda order: encoded(encoder, *order), orders))
        queries = callers.submit(encoder.encode_queries, ["what is it?"])  # tokenizers are shared
        assert len(queries.result()) == 1
    threaded[1].reverse()
    for others in (together, *threaded):
        for one, other in zip(alone, others, strict=True):
            assert isinstance(other, PageEncoding)
            assert np.abs(one.vectors - other.vectors).max() < BATCH_TOLERANCE


@each_family
def test_a_batch_is_what_the_library_makes(shelf: Shelf, family: str) -> None:
    """Collated features equal ``process_images``, and the vectors those of the library's call."""
    encoder = shelf.encoder(family)
    processor, model = encoder._pages._processor, encoder._model
    pages = [page(size, seed=n) for n, size in enumerate((A4, STRIP, LANDSCAPE))]
    theirs = processor.process_images([Image.fromarray(p.image) for p in pages])
    items = [encoder._pages.prepare(one) for one in pages]
    ours = collate(items, encoder._pad_id, encoder._pad_left, encoder._device)
    left_out = {"labels", "pixel_attention_mask"}
    assert set(ours) == set(theirs) - left_out
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    with torch.inference_mode():
        vectors = model(**theirs).float().numpy()
    for number, (item, encoding) in enumerate(zip(items, encoded(encoder, *pages), strict=True)):
        real = vectors[number][theirs["attention_mask"][number].bool().numpy()]
        cells = real[item.layout.patches]
        assert np.abs(cells - encoding.vectors[: len(cells)]).max() < BATCH_TOLERANCE


@each_family
def test_an_adapter_is_applied_as_peft_does(shelf: Shelf, family: str) -> None:
    from peft import PeftModel

    folder = shelf.adapter(family)
    encoder = shelf.load(folder)
    sheet = page(A4, seed=5)
    (ours,) = encoded(encoder, sheet)
    (base,) = encoded(shelf.encoder(family), sheet)
    assert np.abs(ours.vectors - base.vectors).max() > 0.05

    known = FAMILIES[family]
    model = getattr(models, known.model).from_pretrained(str(shelf.folder(family)))
    adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    item = encoder._pages.prepare(sheet)
    with torch.inference_mode():
        vectors = adapted(**item.tensors)[0].numpy()[item.layout.patches]
    assert np.abs(vectors - ours.vectors[: len(vectors)]).max() < BATCH_TOLERANCE
    assert ours.vectors.shape == base.vectors.shape
    assert encoder.info.identity.fingerprint != shelf.encoder(family).info.identity.fingerprint


QUERIES = [
    "What is 12%?",
    "l'année 2024 — naïve § 3!",
    "売上高は?",
    "a question of some more words than the others",
]


@each_family
def test_queries_are_the_librarys_and_words_are_told_from_the_rest(
    shelf: Shelf, family: str
) -> None:
    encoder = shelf.encoder(family)
    processor, model = encoder._pages._processor, encoder._model
    for query, encoding in zip(QUERIES, encoder.encode_queries(QUERIES), strict=True):
        theirs = processor.process_queries(queries=[query])
        with torch.inference_mode():
            vectors = model(**theirs)[0].numpy()
        assert len(encoding.tokens) == len(vectors)
        assert np.abs(encoding.vectors - vectors).max() < BATCH_TOLERANCE
        assert np.allclose(np.linalg.norm(encoding.vectors, axis=1), 1, atol=1e-6)
        assert (encoding.weights == 1).all()
        # These tokenizers make a token of every byte; each stands for the letter it is of.
        said = [letter for letter in query if has_meaning(letter) for _ in letter.encode()]
        marked = zip(encoding.tokens, encoding.meaning, strict=True)
        assert [token for token, meaning in marked if meaning] == said
        around = [*encoding.tokens[:1], *encoding.tokens[-10:]]
        assert set(around) & {"<bos>", "<|endoftext|>", "<end_of_utterance>", "<end_of_turn>"}


@each_family
def test_a_query_is_the_same_in_any_company(shelf: Shelf, family: str) -> None:
    encoder = shelf.encoder(family)
    together = encoder.encode_queries(QUERIES)
    for query, one in zip(QUERIES, together, strict=True):
        (alone,) = encoder.encode_queries([query])
        assert alone.tokens == one.tokens
        assert np.array_equal(alone.meaning, one.meaning)
        assert np.abs(alone.vectors - one.vectors).max() < BATCH_TOLERANCE


@each_family
def test_special_tokens_in_a_query_are_text(shelf: Shelf, family: str) -> None:
    """One that stands for a picture would crash the model, or end the prompt."""
    encoder = shelf.encoder(family)
    tokenizer = encoder._pages._processor.tokenizer
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    assert special & {"<image>", "<|image_pad|>", "<image_soft_token>"}
    query = "a " + " b ".join(sorted(special)) + " c <<image>image> <|im<|image_pad|>age_pad|>"
    (hostile,) = encoder.encode_queries([query])
    (plain,) = encoder.encode_queries(["a"])
    own = [token for token in hostile.tokens if token in special]
    around = [token for token in plain.tokens if token in special]
    assert own == around


@pytest.mark.parametrize("query", ["", "  ", "?!", "§ €", "<|image_pad|>"[:2]])
def test_a_query_that_says_nothing_is_named_and_ends_no_other(shelf: Shelf, query: str) -> None:
    first, nothing, last = shelf.encoder("colqwen2").encode_queries(["fine", query, "good"])
    assert isinstance(nothing, ValueError)
    assert f"{query!r} holds no letter and no digit" in str(nothing)
    for encoding, text in ((first, "fine"), (last, "good")):
        assert isinstance(encoding, QueryEncoding)
        said = zip(encoding.tokens, encoding.meaning, strict=True)
        assert "".join(token for token, meaning in said if meaning) == text


def test_a_query_longer_than_the_model_takes_is_named_and_ends_no_other(shelf: Shelf) -> None:
    long, fine = shelf.encoder("colqwen2").encode_queries(["long ago " * 600, "fine"])
    assert isinstance(long, ValueError)
    assert re.search(r"long ago.*too long.*shorten it", str(long))
    assert isinstance(fine, QueryEncoding)


def test_queries_that_cannot_be_prepared_end_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tokens than the library's, and a text that the tokenizer does not take at all."""
    processor = shelf.encoder("colqwen2")._pages._processor
    library = type(processor).process_queries

    def changed(self: Any, queries: list[str]) -> Any:
        if any("odd" in query for query in queries):
            raise TypeError("no text")
        made = library(self, queries=queries)
        for row, query in enumerate(queries):
            if "other" in query:
                made["input_ids"][row, -1] += 1
        return made

    monkeypatch.setattr(type(processor), "process_queries", changed)
    one, other, odd, two = QueryPreparer("colqwen2", processor, 4096).prepare(
        ["one", "another", "odd", "two"]
    )
    assert (one.words[-10:], two.words[-10:]) == (("<|endoftext|>",) * 10,) * 2
    assert isinstance(other, EncodingFailed)
    assert "other tokens of the query 'another'" in str(other)
    assert isinstance(odd, TypeError)


def test_the_limit_on_patches_holds_whatever_the_files_say(shelf: Shelf) -> None:
    """Copies of published checkpoints allow 16,384 patches."""
    folder = shelf.changed("colqwen2", "generous")
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["image_processor"].pop("size")
    config["image_processor"] |= {"max_pixels": 12_845_056, "min_pixels": 3136}
    file.write_text(json.dumps(config))
    for limit, grid in ((None, (32, 23)), (256, (19, 13))):
        (large,) = encoded(shelf.load(folder, limit), page((1654, 2339)))
        assert (large.rows, large.cols) == grid
    encoder = shelf.load(folder, 64)
    (outcome,) = encoder.encode_pages([page((4000, 30))])
    assert isinstance(outcome, TooLarge)
    assert not outcome.retryable
    assert "64 are allowed" in str(outcome)
    assert "new --db with more --visual-tokens" in str(outcome)


def test_the_identity_says_what_vectors_depend_on(shelf: Shelf) -> None:
    folder = str(shelf.folder("colqwen2"))
    info, fewer = colvision.describe(folder), colvision.describe(folder, 256)
    assert info.identity.visual_tokens == 768
    assert fewer.identity.visual_tokens == 256
    assert info.identity.fingerprint != fewer.identity.fingerprint
    assert str(shelf.root) not in info.identity.fingerprint
    assert (info.needs_image, info.needs_words, info.wants_gpu) == (True, False, True)
    assert info.image_pixels == 768 * 28**2 * 4
    size = sum(t.numel() for t in load_file(Path(folder) / "model.safetensors").values())
    assert info.weight_bytes == 4 * size
    for family, tokens in (("colpali", 256), ("colqwen2", 3)):
        with pytest.raises(UsageError, match="--visual-tokens"):
            colvision.describe(str(shelf.folder(family)), tokens)


def test_other_weights_than_asked_for_are_refused(shelf: Shelf) -> None:
    info = colvision.describe(str(shelf.folder("colqwen2")))
    other = replace(info, identity=replace(info.identity, fingerprint="colqwen2-1/other"))
    with pytest.raises(EncoderUnavailable, match="other weights"):
        colvision.load(other)


def spoil(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "model") -> Path:
    file = folder / f"{name}.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("colqwen2", "custom_text_proj.bias"),
        ("colidefics3", "linear.bias"),
        ("colpali", "multi_modal_projector.linear.weight"),
    ],
)
def test_a_checkpoint_without_all_its_weights_is_refused(
    shelf: Shelf, family: str, weight: str
) -> None:
    """It would load, with random numbers in their place."""

    def drop(tensors: dict[str, Any]) -> None:
        (name,) = (name for name in tensors if name.endswith(weight))
        del tensors[name]

    folder = spoil(shelf.changed(family, "incomplete"), drop)
    with pytest.raises(EncoderUnavailable, match=f"lacks weights: .*{weight}"):
        shelf.load(folder)


@pytest.mark.parametrize("family", ["colqwen2", "colidefics3"])
def test_an_adapter_that_does_not_fit_is_refused(shelf: Shelf, family: str) -> None:
    adapter = shelf.adapter(family)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(adapter, adapter.with_name(f"{adapter.name}-{name}")))

    def drop(tensors: dict[str, Any]) -> None:
        del tensors[next(name for name in tensors if "lora_B" in name)]

    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.replace("q_proj", "elsewhere")] = tensors.pop(name)

    for name, change in (("part", drop), ("foreign", rename)):
        folder = spoil(copy(name), change, "adapter_model")
        with pytest.raises(EncoderUnavailable, match="does not fit its base"):
            shelf.load(folder)


def test_an_adapter_with_the_layers_old_names_is_applied(shelf: Shelf) -> None:
    """Published adapters were saved before transformers 5 renamed the layers."""
    adapter = shelf.adapter("colqwen2")
    old = Path(shutil.copytree(adapter, adapter.with_name("colqwen2-old-names")))

    def rename(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if "language_model." in name]:
            tensors[name.replace("language_model.", "model.")] = tensors.pop(name)

    spoil(old, rename, "adapter_model")
    sheet = page(A4, seed=5)
    (new_names,), (old_names,) = (encoded(shelf.load(one), sheet) for one in (adapter, old))
    assert np.array_equal(new_names.vectors, old_names.vectors)


def test_vectors_that_are_no_numbers_are_an_error_of_the_page(shelf: Shelf) -> None:
    def poison(tensors: dict[str, Any]) -> None:
        (name,) = (name for name in tensors if name.endswith("patch_embed.proj.weight"))
        tensors[name][:] = torch.nan

    encoder = shelf.load(spoil(shelf.changed("colqwen2", "nan"), poison))
    for outcome in encoder.encode_pages([page(A4), page(A4, seed=1)]):
        assert isinstance(outcome, EncodingFailed)
        assert "no finite vectors" in str(outcome)
    (query,) = encoder.encode_queries(["text does not pass there"])
    assert isinstance(query, QueryEncoding)


def test_a_query_whose_vectors_are_no_numbers_ends_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = shelf.encoder("colqwen2")
    model = encoder._model

    def long_ones_are_nan(**batch: Any) -> Any:
        vectors = model(**batch).clone()
        vectors[batch["attention_mask"].sum(dim=1) > 40] = torch.nan
        return vectors

    monkeypatch.setattr(encoder, "_model", long_ones_are_nan)
    fine, broken, last = encoder.encode_queries(["a", "of more words " * 4, "b"])
    assert isinstance(fine, QueryEncoding)
    assert isinstance(last, QueryEncoding)
    assert isinstance(broken, EncodingFailed)
    assert "no finite vectors for the query" in str(broken)


def test_a_page_that_cannot_be_encoded_leaves_the_others(shelf: Shelf) -> None:
    encoder = shelf.encoder("colqwen2")
    blind = replace(page(A4), image=None)
    needle = page((4000, 10))
    good, none, thin, last = encoder.encode_pages([page(A4), blind, needle, page(A4)])
    assert isinstance(good, PageEncoding)
    assert isinstance(last, PageEncoding)
    assert isinstance(none, EncodingFailed)
    assert isinstance(thin, TooLarge)
    assert "aspect ratio" in str(thin)


def test_features_that_do_not_fit_their_grid_are_an_error(shelf: Shelf) -> None:
    """Never a grid by guess: each family's reader checks what it is told against the tokens."""
    for family in ("colqwen2", "colpali", "colidefics3"):
        processor = shelf.encoder(family)._pages._processor
        made = dict(processor.process_images([Image.fromarray(page(A4).image)]))
        read = grids.layout_reader(family, processor)
        ids = made["input_ids"][0].numpy()
        assert read(ids, made).rows == GRIDS[family][0][0]
        token = grids.image_token(family, processor)
        with pytest.raises(EncodingFailed, match="does not fit"):
            read(np.delete(ids, int(np.flatnonzero(ids == token)[3])), made)


def test_a_closed_encoder_says_so(shelf: Shelf) -> None:
    info = colvision.describe(str(shelf.folder("colqwen2")))
    encoder = colvision.load(info, device="cpu")
    encoder.close()
    with pytest.raises(EncoderUnavailable, match="closed"):
        encoder.encode_pages([page(A4)])


def lost(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def own(shelf: Shelf) -> Iterator[ColVisionEncoder]:
    """An encoder that a test may break."""
    encoder = colvision.load(colvision.describe(str(shelf.folder("colqwen2"))), device="cpu")
    yield encoder
    encoder.close()


@pytest.mark.parametrize("where", ["model", "preparation"])
def test_a_gpu_that_failed_ends_all_calls(
    own: ColVisionEncoder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "model":
        monkeypatch.setattr(own, "_model", lost)
    else:
        monkeypatch.setattr(own._pages, "_features", lost)
    monkeypatch.setattr(own, "_device_works", lambda: False)
    with pytest.raises(DeviceLost, match=r"stopped working.*illegal memory access"):
        own.encode_pages([page(A4), page(A4)])
    with pytest.raises(DeviceLost):
        own.encode_queries(["what is it?"])


def test_an_error_on_a_gpu_that_works_is_the_pages(
    own: ColVisionEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(own, "_model", lost)
        (outcome,) = own.encode_pages([page(A4)])
    assert isinstance(outcome, EncodingFailed)
    assert len(encoded(own, page(A4))) == 1


@pytest.mark.parametrize(
    ("error", "works"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), False),
    ],
)
def test_a_full_gpu_is_not_taken_for_a_lost_one(
    own: ColVisionEncoder, monkeypatch: pytest.MonkeyPatch, error: Exception, works: bool
) -> None:
    def ones(*args: Any, **kwargs: Any) -> Any:
        raise error

    assert own._device_works()
    monkeypatch.setattr(torch, "ones", ones)
    assert own._device_works() is works


def test_a_gpu_that_fails_while_the_weights_are_loaded_is_lost(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = colvision.describe(str(shelf.folder("colqwen2")))
    monkeypatch.setattr(colvision.weights, "load_model", lost)
    monkeypatch.setattr(ColVisionEncoder, "_device_works", lambda self: False)
    with pytest.raises(DeviceLost):
        colvision.load(info, device="cpu")


def test_only_pages_have_the_budget_measured_and_once(
    own: ColVisionEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def find(run: Callable[[int], Any], tokens: int, size: int, device: Any, share: float) -> int:
        measured.append((run(2).shape[0], tokens, size, share))
        return 5000

    monkeypatch.setattr(memory, "find_budget", find)
    own._measured, own._gpu_share = False, 0.25
    own.encode_queries(["what is it?"])
    assert not measured
    assert own._batcher.budget == memory.CPU_TOKENS
    encoded(own, page(A4), page(A4), page(STRIP))
    (a4, largest) = (own._pages.prepare(one).tokens for one in (page(A4), page((672, 896))))
    assert measured == [(2, largest, 0, 0.25)]
    assert largest > a4
    assert own._batcher.budget == 5000


@pytest.mark.parametrize("tries", [1, 2])
def test_a_gpu_too_small_for_a_page_still_takes_queries(
    own: ColVisionEncoder, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    calls = []

    def find(*args: Any) -> int:
        calls.append(1)
        if len(calls) <= tries:
            raise torch.OutOfMemoryError("no room")
        return 900

    monkeypatch.setattr(memory, "find_budget", find)
    monkeypatch.setattr(memory, "PAUSE_S", 0)
    own._measured = False
    assert isinstance(own.encode_queries(["what is it?"])[0], QueryEncoding)
    if tries == 1:
        assert isinstance(own.encode_pages([page(A4)])[0], PageEncoding)
    else:
        with pytest.raises(EncoderUnavailable, match=r"too little memory for one page.*no room"):
            own.encode_pages([page(A4)])
    assert len(calls) == 2


@each_family
def test_no_page_has_more_tokens_than_the_one_the_budget_is_measured_with(
    shelf: Shelf, family: str
) -> None:
    encoder = shelf.encoder(family)
    most = encoder.info.identity.visual_tokens
    largest = encoder._pages.prepare(colvision._largest_page(FAMILIES[family], most))
    if most:
        assert len(largest.layout.patches) == most
    for size in (A4, LANDSCAPE, STRIP, SQUARE, (1000, 1333), (1333, 1000), (300, 2100)):
        assert encoder._pages.prepare(page(size)).tokens <= largest.tokens, size


@pytest.mark.parametrize("most", [64, 65, 127, 257, 768, 769, 2039, 16_381, 16_384])
def test_the_largest_page_is_the_largest_for_any_number_of_patches(most: int) -> None:
    """Also for primes, of which there is no grid of exactly so many cells."""
    image = colvision._largest_page(FAMILIES["colqwen3"], most).image
    assert image is not None
    rows, cols = (side // 32 for side in image.shape[:2])
    assert image.shape[:2] == (32 * rows, 32 * cols)
    others = [(side, most // side) for side in range(1, most + 1)]
    allowed = [r * c for r, c in others if max(r, c) <= 200 * min(r, c)]
    assert rows * cols == max(allowed)
    assert max(rows, cols) <= 200 * min(rows, cols)


class Card:
    """A card of 24 GiB, of which 3 are free to all and this process holds 2."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 21, reserved: int = 2) -> None:
        self.fractions: list[tuple[float, Any]] = []
        for name, answer in {
            "is_available": lambda: True,
            "current_device": lambda: 3,
            "is_bf16_supported": lambda *_: True,
            "mem_get_info": lambda device=None: (free << 30, 24 << 30),
            "memory_reserved": lambda device=None: reserved << 30,
            "set_per_process_memory_fraction": lambda *given: self.fractions.append(given),
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)


@pytest.mark.parametrize(
    ("free", "reserved", "share", "expected"),
    [
        (21, 2, 1.0, 21.0),
        (21, 2, 0.5, 9.5),  # 12 of 24, less 2 held and half a GiB that torch does not count
        (3, 2, 0.5, 3.0),  # others have taken more than their part
        (21, 13, 0.5, 0.0),
    ],
)
def test_processes_on_one_card_plan_with_their_share(
    monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, share: float, expected: float
) -> None:
    Card(monkeypatch, free, reserved)
    assert memory.available(torch.device("cuda", 3), share) == int(expected * 2**30)


@pytest.mark.parametrize("shares", [1, 2, 3, 5, 8])
def test_processes_on_one_card_never_plan_for_more_than_it_has(
    monkeypatch: pytest.MonkeyPatch, shares: int
) -> None:
    """Even if all find the whole card free: each has loaded before the next one began to fill."""
    Card(monkeypatch, free=24, reserved=2)
    each = memory.available(torch.device("cuda", 3), 1 / shares)
    if shares > 1:
        assert shares * (each + (2 << 30) + memory.CONTEXT_BYTES) <= 24 << 30


@pytest.mark.parametrize(("share", "limit"), [(0.5, [0.5]), (1.0, [])])
def test_the_share_of_a_card_is_set_before_the_weights_are_loaded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, share: float, limit: list[float]
) -> None:
    card = Card(monkeypatch)
    info = colvision.describe(str(shelf.folder("colqwen2")))

    def load_model(checkpoint: Any, device: torch.device, dtype: torch.dtype) -> Any:
        assert device == torch.device("cuda", 3)
        assert card.fractions == [(part, device) for part in limit]
        raise EncoderUnavailable("as far as this test goes")

    monkeypatch.setattr(colvision.weights, "load_model", load_model)
    monkeypatch.setattr(ColVisionEncoder, "_device_works", lambda self: True)
    with pytest.raises(EncoderUnavailable, match="as far as"):
        colvision.load(info, gpu_share=share)


class Short:
    """A model with memory for one page at a time, or for none of more than so many tokens."""

    def __init__(self, model: Any, pages: int, tokens: int = 10**9) -> None:
        self.model, self.pages, self.tokens = model, pages, tokens

    def __call__(self, **batch: Any) -> Any:
        pages, tokens = batch["input_ids"].shape
        if pages > self.pages or tokens > self.tokens:
            raise torch.OutOfMemoryError(f"no room for {pages} x {tokens}")
        return self.model(**batch)


def test_memory_running_out_costs_no_page(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = shelf.encoder("colqwen2_5")
    monkeypatch.setattr(encoder._batcher, "_pause_s", 0)
    small, large = page((300, 400), seed=1), page(A4, seed=2)
    expected = encoded(encoder, small, small, small, large)
    monkeypatch.setattr(encoder, "_model", Short(encoder._model, pages=1))
    for one, other in zip(expected, encoded(encoder, small, small, small, large), strict=True):
        assert np.abs(one.vectors - other.vectors).max() < BATCH_TOLERANCE
    monkeypatch.setattr(encoder, "_model", Short(encoder._model, pages=1, tokens=500))
    first, too_large, last = encoder.encode_pages([small, large, small])
    assert isinstance(first, PageEncoding)
    assert isinstance(last, PageEncoding)
    assert isinstance(too_large, OutOfMemory)


@pytest.mark.parametrize("tries", [1, 2])
def test_memory_running_out_in_preparation_is_tried_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    encoder = shelf.encoder("colqwen2")
    prepare, calls = encoder._pages._features, []

    def short(picture: Any) -> Any:
        calls.append(time.monotonic())
        if len(calls) <= tries:
            raise torch.OutOfMemoryError("no room")
        return prepare(picture)

    monkeypatch.setattr(encoder._pages, "_features", short)
    monkeypatch.setattr(encoder._pages, "_pause_s", 0.1)
    (outcome,) = encoder.encode_pages([page(A4)])
    assert isinstance(outcome, PageEncoding if tries == 1 else OutOfMemory)
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.1


def test_a_page_that_breaks_the_model_is_named(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = shelf.encoder("colqwen2_5")
    model = encoder._model

    def fragile(**batch: Any) -> Any:
        if batch["input_ids"].shape[1] > 500:
            raise IndexError("out of range")
        return model(**batch)

    monkeypatch.setattr(encoder, "_model", fragile)
    good, bad = encoder.encode_pages([page((300, 400)), page(A4)])
    assert isinstance(good, PageEncoding)
    assert isinstance(bad, EncodingFailed)
    assert "IndexError: out of range" in str(bad)


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert memory.out_of_memory(real.value)
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):
        assert memory.out_of_memory(error)
    assert not memory.out_of_memory(RuntimeError("shape mismatch"))
    assert not memory.out_of_memory(ValueError("not enough memory"))


@pytest.mark.parametrize(("fits", "expected"), [(99, 15_800), (1, 1000), (0, None)])
def test_the_budget_is_measured_on_the_card(
    monkeypatch: pytest.MonkeyPatch, fits: int, expected: int | None
) -> None:
    """A card of 21 GiB, on which pages take 1 GiB each and 1 GiB once."""
    held = {"peak": 0}

    def run(pages: int) -> None:
        if pages > fits:
            raise torch.OutOfMemoryError
        held["peak"] = (1 + pages) << 30

    for name, answer in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: 0,
        "max_memory_allocated": lambda device: held["peak"],
        "mem_get_info": lambda device: (21 << 30, 24 << 30),
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    card = torch.device("cuda", 0)
    if expected is None:
        with pytest.raises(torch.OutOfMemoryError):
            memory.find_budget(run, 1000, 0, card, 1.0)
    else:
        assert memory.find_budget(run, 1000, 0, card, 1.0) == expected
