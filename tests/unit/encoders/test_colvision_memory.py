"""Guards the vision encoders on a device that fills up or fails: budgets, shares, lost GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")

import torch

from patchlight.storage.records import PageEncoding, QueryEncoding
from patchlight.tasks.common.errors import (
    DeviceLost,
    EncoderUnavailable,
    EncodingFailed,
    OutOfMemory,
)
from patchlight.tasks.encoders import colvision, memory, weights
from patchlight.tasks.encoders.colvision import ColVisionEncoder
from patchlight.tasks.encoders.families import FAMILIES
from tests.vision_examples import (
    A4,
    BATCH_TOLERANCE,
    LANDSCAPE,
    SQUARE,
    STRIP,
    Shelf,
    each_family,
    encoded,
    page,
)


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
    monkeypatch.setattr(weights, "load_model", lost)
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

    monkeypatch.setattr(weights, "load_model", load_model)
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
