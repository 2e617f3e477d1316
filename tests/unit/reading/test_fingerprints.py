"""A changed stage is done again with what reads it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchlight.storage.records import EncoderIdentity
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.reading.fingerprints import WHOLE, Stages, Work
from patchlight.tasks.reading.looking import regions_as_made, regions_made
from patchlight.tasks.reading.pages import ReadOptions, stages_of, words_as_read

BY_WORDS = EncoderInfo(EncoderIdentity("w", "w-1", 8), False, True, False)
BY_PICTURES = EncoderInfo(EncoderIdentity("p", "p-1", 8), True, False, True, image_pixels=1000)


def stages(encoder: EncoderInfo, options: ReadOptions) -> Stages:
    pixels = encoder.image_pixels
    return stages_of(
        replace(options, image_pixels=pixels), encoder, encoder.identity.fingerprint + "/float16"
    )


def made_by(encoder: EncoderInfo, options: ReadOptions, kind: str) -> dict[str, str]:
    """Fingerprints of a page whose words came from a layer, from OCR, or that has none."""
    before = stages(encoder, options)
    (words,) = (name for name in before.words if kind in name)
    return before.made(words, regions_made(options.layout))


AUTO = ReadOptions(OcrMode.AUTO, "eng", 200, "", 60, image_pixels=0)
ALWAYS = replace(AUTO, ocr=OcrMode.ALWAYS)
NEVER = replace(AUTO, ocr=OcrMode.NEVER)


@pytest.mark.parametrize("encoder", [BY_WORDS, BY_PICTURES])
@pytest.mark.parametrize(
    ("before", "kind"),
    [(AUTO, "layer"), (AUTO, "auto ocr"), (ALWAYS, "always ocr"), (NEVER, "as it is")],
)
def test_the_same_again_does_nothing(encoder: EncoderInfo, before: ReadOptions, kind: str) -> None:
    assert stages(encoder, before).work(made_by(encoder, before, kind)) is None
    assert stages(encoder, before).work(None) == WHOLE


@pytest.mark.parametrize(
    ("before", "kind", "now", "words"),
    [
        (AUTO, "layer", replace(AUTO, lang="deu"), False),
        (AUTO, "layer", replace(AUTO, dpi=300), False),
        (AUTO, "layer", NEVER, False),
        (NEVER, "layer", AUTO, False),
        (AUTO, "layer", ALWAYS, True),
        (AUTO, "auto ocr", replace(AUTO, lang="deu"), True),
        (AUTO, "auto ocr", replace(AUTO, dpi=300), True),
        (AUTO, "auto ocr", ALWAYS, False),
        (AUTO, "auto ocr", NEVER, True),
        (ALWAYS, "always ocr", AUTO, True),
        (NEVER, "as it is", AUTO, True),
    ],
)
def test_words_are_read_again_only_where_they_would_differ(
    before: ReadOptions, kind: str, now: ReadOptions, words: bool
) -> None:
    """A page with a text layer does not care for the language of OCR."""
    made = made_by(BY_WORDS, before, kind)
    assert stages(BY_WORDS, now).work(made) == (WHOLE if words else None)


def test_new_words_leave_the_vectors_of_pictures_alone() -> None:
    made = made_by(BY_PICTURES, AUTO, "auto ocr")
    assert stages(BY_PICTURES, replace(AUTO, lang="deu")).work(made) == Work(True, True, False)


def test_another_resolution_encodes_pictures_anew_and_reads_a_layer_not() -> None:
    finer = replace(AUTO, dpi=300)
    layer, ocr = (made_by(BY_PICTURES, AUTO, kind) for kind in ("layer", "auto ocr"))
    assert stages(BY_PICTURES, finer).work(layer) == Work(False, False, True)
    assert stages(BY_PICTURES, finer).work(ocr) == WHOLE


@pytest.mark.parametrize("encoder", [BY_WORDS, BY_PICTURES])
def test_new_regions_take_stored_words_and_keep_vectors(encoder: EncoderInfo) -> None:
    made = made_by(encoder, AUTO, "layer")
    now = replace(stages(encoder, AUTO), regions=frozenset({"regions-next"}))
    assert now.work(made) == Work(False, True, False)
    assert now.work(now.made(made["words"], "regions-next")) is None


@pytest.mark.parametrize("encoder", [BY_WORDS, BY_PICTURES])
def test_the_layout_model_changes_regions_and_nothing_else(encoder: EncoderInfo) -> None:
    without = replace(AUTO, layout=LayoutMode.NEVER)
    for before, now in ((AUTO, without), (without, AUTO)):
        made = made_by(encoder, before, "layer")
        assert stages(encoder, now).work(made) == Work(False, True, False)


def test_a_page_that_cannot_be_drawn_is_not_looked_at_again_and_again() -> None:
    made = made_by(BY_WORDS, AUTO, "layer")
    (undrawn,) = regions_as_made(AUTO.layout) - {made["regions"]}
    assert stages(BY_WORDS, AUTO).work(made | {"regions": undrawn}) is None
    without = stages(BY_WORDS, replace(AUTO, layout=LayoutMode.NEVER))
    assert without.work(made | {"regions": undrawn}) == Work(False, True, False)


def test_drawing_otherwise_is_nothing_to_a_page_that_was_not_drawn() -> None:
    unseen = replace(AUTO, layout=LayoutMode.NEVER)
    made = made_by(BY_WORDS, unseen, "layer")
    assert replace(stages(BY_WORDS, unseen), render="render-next").work(made) is None


def test_the_layout_model_reads_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = regions_made(LayoutMode.AUTO), regions_made(LayoutMode.NEVER)
    monkeypatch.setattr("patchlight.tasks.documents.opening.RENDER_VERSION", 99)
    after = regions_made(LayoutMode.AUTO), regions_made(LayoutMode.NEVER)
    assert before[0] != after[0] and before[1] == after[1]


def test_ocr_reads_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = words_as_read(AUTO)
    monkeypatch.setattr("patchlight.tasks.documents.opening.RENDER_VERSION", 99)
    after = words_as_read(AUTO)
    assert {name for name in before & after if "ocr" not in name} == before & after
    assert len(before & after) == 1
