"""The fingerprint of stored vectors: as it always was, and other where what they are made by is."""

from __future__ import annotations

import pytest

from patchlight.storage.records import EncoderIdentity, VectorForm, VectorType
from patchlight.tasks.ingest.vectorform import encoder_stage

ENCODER = EncoderIdentity("text-patch", "text-patch-1", 192)
PLAIN = VectorForm()
INT8 = VectorForm(VectorType.INT8)
POOLED = VectorForm(pool=4)
WITHOUT_BLANK = VectorForm(drop_blank=True)
STORED = {
    PLAIN: "text-patch-1/float16",
    INT8: "text-patch-1/int8",
    POOLED: "text-patch-1/float16/pool 4",
    WITHOUT_BLANK: "text-patch-1/float16/no blank cells",
    VectorForm(VectorType.INT8, 2, True): "text-patch-1/int8/pool 2/no blank cells",
}


def test_fingerprints_are_those_of_stored_vectors() -> None:
    assert {form: encoder_stage(ENCODER, form) for form in STORED} == STORED


@pytest.mark.parametrize(
    ("constant", "its"),
    [
        ("patchlight.storage.quantise.QUANTISE_VERSION", INT8),
        ("patchlight.tasks.kernels.pooling.POOLING_VERSION", POOLED),
        ("patchlight.tasks.kernels.pooling.BLANK_VERSION", WITHOUT_BLANK),
    ],
)
def test_a_raised_version_is_of_vectors_made_by_it_and_of_no_others(
    constant: str, its: VectorForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constant, 99)
    for form in (PLAIN, INT8, POOLED, WITHOUT_BLANK):
        assert (encoder_stage(ENCODER, form) != STORED[form]) is (form == its)
