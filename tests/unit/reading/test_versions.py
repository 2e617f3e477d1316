"""A version that is raised does its own stage again, and at today's value nothing stored is.

Fingerprints are compared with those stored: one that changes by accident reads whole databases
anew, and a version that no fingerprint names leaves what is stale.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from patchlight.storage.records import VectorForm, VectorType
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.encoders import colvision, textpatch
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.grounding import spanweights, valueweights
from patchlight.tasks.ingest.vectorform import encoder_stage
from patchlight.tasks.reading.fingerprints import WHOLE, Stages, Work
from patchlight.tasks.reading.looking import regions_as_made, regions_made
from patchlight.tasks.reading.pages import ReadOptions, fingerprints_of, stages_of, words_as_read
from tests.checkpoint_examples import model

ROOT = Path(__file__).parents[3]

AUTO = ReadOptions(OcrMode.AUTO, "eng", 200, "", 60, image_pixels=0)
UNSEEN = replace(AUTO, layout=LayoutMode.NEVER)
WORDS_AGAIN = Work(words=True, regions=True, encode=False)
PLAIN = VectorForm()
SMALL = VectorForm(VectorType.INT8, pool=4, drop_blank=True)
REGIONS = Work(words=False, regions=True, encode=False)
VECTORS = Work(words=False, regions=False, encode=True)

RAISED: Mapping[str, tuple[Work | None, ...]] = {
    # By an encoder of words: a page with a text layer, a scanned one, and one with a layer that
    # the layout model does not look at. By an encoder of pictures: one with a layer, and one
    # whose vectors are pooled, without blank cells, and stored as integers.
    "patchlight.tasks.documents.opening.RENDER_VERSION": (
        REGIONS,
        WHOLE,
        None,
        replace(REGIONS, encode=True),
        replace(REGIONS, encode=True),
    ),
    "patchlight.tasks.reading.pages.WORDS_VERSION": (WHOLE, WHOLE, WHOLE, WORDS_AGAIN, WORDS_AGAIN),
    "patchlight.tasks.regions.hierarchy.REGIONS_VERSION": (REGIONS,) * 5,
    "patchlight.tasks.regions.proposals.PROPOSALS_VERSION": (REGIONS,) * 5,
    "patchlight.tasks.regions.layoutmodel.LAYOUT_VERSION": (
        REGIONS,
        REGIONS,
        None,
        REGIONS,
        REGIONS,
    ),
    "patchlight.tasks.encoders.textpatch.VERSION": (VECTORS, VECTORS, VECTORS, None, None),
    "patchlight.tasks.encoders.colvision.VERSION": (None, None, None, VECTORS, VECTORS),
    "patchlight.tasks.kernels.pooling.POOLING_VERSION": (None, None, None, None, VECTORS),
    "patchlight.tasks.kernels.pooling.BLANK_VERSION": (None, None, None, None, VECTORS),
    "patchlight.storage.quantise.QUANTISE_VERSION": (None, None, None, None, VECTORS),
}
OF_NO_STAGE = {
    # Of the statistics of all pages, which no page is made from: tests/unit/ingest/test_termcounts.
    "patchlight.tasks.ingest.termcounts.COUNTS_VERSION",
    "patchlight.storage.schema.SCHEMA_VERSION",  # a database of another is refused
    "patchlight.storage.schema.MIGRATED_VERSION",  # or migrated
    "patchlight.tasks.grounding.spanweights.WEIGHTS_VERSION",  # of answers, which are not kept
    "patchlight.tasks.grounding.valueweights.WEIGHTS_VERSION",
}


def constants() -> set[str]:
    """Every version constant of a module, by its full name."""
    found = set()
    for layer in ("storage", "tasks", "flows"):
        for path in (ROOT / layer).rglob("*.py"):
            module = ".".join(("patchlight", *path.relative_to(ROOT).with_suffix("").parts))
            text = path.read_text(encoding="utf-8")
            names = re.findall(r"^([A-Z0-9_]*VERSION)\b[^=\n]*=", text, re.MULTILINE)
            found |= {f"{module}.{name}" for name in names}
    return found


@pytest.fixture
def checkpoint(tmp_path: Path, no_network: Path) -> str:
    """Folder of a checkpoint of a vision model."""
    model(tmp_path / "model")
    return str(tmp_path / "model")


def stages(encoder: EncoderInfo, options: ReadOptions, form: VectorForm = PLAIN) -> Stages:
    return stages_of(options, encoder, encoder_stage(encoder.identity, form))


def cases(checkpoint: str) -> list[tuple[Stages, str, LayoutMode]]:
    """Stages as they are now, what words come from, and whether the layout model looks."""
    words, pictures = textpatch.describe(), colvision.describe(checkpoint)
    return [
        (stages(words, AUTO), "layer", AUTO.layout),
        (stages(words, AUTO), "ocr", AUTO.layout),
        (stages(words, UNSEEN), "layer", UNSEEN.layout),
        (stages(pictures, AUTO), "layer", AUTO.layout),
        (stages(pictures, AUTO, SMALL), "layer", AUTO.layout),
    ]


def test_every_version_is_of_a_stage_or_known_to_be_of_none() -> None:
    assert constants() == RAISED.keys() | OF_NO_STAGE


@pytest.mark.parametrize("constant", RAISED)
def test_a_raised_version_does_its_stage_again_and_no_other(
    constant: str, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = []
    for before, source, layout in cases(checkpoint):
        (words,) = (name for name in before.words if source in name)
        stored.append(before.made(words, regions_made(layout)))
        assert before.work(stored[-1]) is None
    monkeypatch.setattr(constant, 99)
    now = [case[0].work(made) for case, made in zip(cases(checkpoint), stored, strict=True)]
    assert tuple(now) == RAISED[constant]


def test_fingerprints_are_those_of_stored_pages() -> None:
    seen = regions_made(LayoutMode.AUTO)
    assert regions_as_made(LayoutMode.AUTO) == {
        "regions-2:auto:layout-2:render-2",
        "regions-2:not drawn:layout-2:render-2",
    }
    assert regions_as_made(LayoutMode.NEVER) == {"regions-2:never"}
    auto, always = "words-2:auto ocr:eng:200dpi:render-2", "words-2:always ocr:eng:200dpi:render-2"
    assert words_as_read(AUTO) == {"words-2:layer", auto}
    assert words_as_read(replace(AUTO, ocr=OcrMode.ALWAYS)) == {auto, always}
    never = replace(AUTO, ocr=OcrMode.NEVER)
    assert words_as_read(never) == {"words-2:layer", "words-2:as it is"}
    info = textpatch.describe()
    encoder = "text-patch-1/128+63+1/8199be6f699a/be50c3628f2b/float16"
    made = {"render": "render-2", "regions": seen, "encoder": encoder}
    assert fingerprints_of(AUTO, stages(info, AUTO)) == made | {"words": auto}
    assert fingerprints_of(never, stages(info, never)) == made | {"words": "words-2:never"}
    pictures = replace(info, needs_image=True, needs_words=False)
    large = replace(AUTO, image_pixels=1000)
    assert stages(pictures, large).render == "render-2:200dpi:1000px"


@pytest.mark.parametrize(
    ("weights", "version", "digest"),
    [
        (spanweights.WEIGHTS, spanweights.WEIGHTS_VERSION, "9105d0445996"),
        (valueweights.WEIGHTS, valueweights.WEIGHTS_VERSION, "551843c1d71e"),
    ],
    ids=["spans", "values"],
)
def test_other_weights_have_another_version(
    weights: Mapping[str, Mapping[str, float]], version: int, digest: str
) -> None:
    """Summaries name the version: answers of two sets of weights must not pass for the same."""
    text = json.dumps({"version": version, "weights": weights}, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == digest
