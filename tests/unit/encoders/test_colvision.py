"""Guards the vision encoders: all families, from a checkpoint's folder to vectors on the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
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

from patchlight.storage.pages import PageInput
from patchlight.storage.records import PageEncoding, QueryEncoding
from patchlight.tasks.common.errors import EncoderUnavailable, EncodingFailed, TooLarge, UsageError
from patchlight.tasks.encoders import colvision, grids
from patchlight.tasks.encoders.colvision import ColVisionEncoder
from patchlight.tasks.encoders.families import FAMILIES
from patchlight.tasks.encoders.features import collate
from tests.vision_examples import (
    A4,
    BATCH_TOLERANCE,
    GRIDS,
    LANDSCAPE,
    SQUARE,
    STRIP,
    Shelf,
    each_family,
    encoded,
    page,
)

TILED = ("colidefics3", "colmodernvbert")
DIMS = {"colqwen3": 320, "colqwen3_5": 320}


def inked(size: tuple[int, int], grid: tuple[int, int], cell: tuple[int, int]) -> PageInput:
    """A white page with one cell of a grid filled, but for a margin of a fifth."""
    drawn = page(size)
    assert drawn.image is not None
    low = [int((c + 0.2) * s / n) for c, s, n in zip(cell, size[::-1], grid, strict=True)]
    high = [int((c + 0.8) * s / n) for c, s, n in zip(cell, size[::-1], grid, strict=True)]
    drawn.image[low[0] : high[0], low[1] : high[1]] = 0
    return drawn


def image_of(given: PageInput) -> Image.Image:
    assert given.image is not None
    return Image.fromarray(given.image)


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
    runs: list[Sequence[object]] = [together, *threaded]
    for others in runs:
        for one, other in zip(alone, others, strict=True):
            assert isinstance(other, PageEncoding)
            assert np.abs(one.vectors - other.vectors).max() < BATCH_TOLERANCE


@each_family
def test_a_batch_is_what_the_library_makes(shelf: Shelf, family: str) -> None:
    """Collated features equal ``process_images``, and the vectors those of the library's call."""
    encoder = shelf.encoder(family)
    processor, model = encoder._pages._processor, encoder._model
    pages = [page(size, seed=n) for n, size in enumerate((A4, STRIP, LANDSCAPE))]
    theirs = processor.process_images([image_of(p) for p in pages])
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
        made = dict(processor.process_images([image_of(page(A4))]))
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
