"""That the layout model is made quicker and still gives the same."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from patchlight.tasks.encoders import wordvectors
from patchlight.tasks.regions import layoutmodel
from patchlight.tasks.regions.hardswish import with_hard_swish


@pytest.fixture(scope="module")
def model() -> bytes:
    return layoutmodel.MODEL.read()


def outputs(model: bytes, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: picture})
    return found


def test_it_gives_the_same(model: bytes) -> None:
    rng = np.random.default_rng(0)
    size = (1, 3, layoutmodel.HEIGHT, layoutmodel.WIDTH)
    picture = rng.standard_normal(size).astype(np.float32)
    before, after = outputs(model, picture), outputs(with_hard_swish(model), picture)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_every_activation_is_found(model: bytes) -> None:
    rewritten = with_hard_swish(model)
    assert model.count(b"HardSwish") == 0
    assert rewritten.count(b"\x22\x09HardSwish") == 94  # field 4 of a node: its operator
    assert rewritten.count(b"\x22\x04Clip") == 0


def test_the_runtime_has_nothing_to_warn_of(
    model: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """It did of each constant that was left over, on the stderr of every process."""
    onnxruntime.InferenceSession(with_hard_swish(model), providers=["CPUExecutionProvider"])
    assert "Removing initializer" not in capfd.readouterr().err


def test_done_twice_is_done_once(model: bytes) -> None:
    once = with_hard_swish(model)
    assert with_hard_swish(once) == once


def test_what_has_none_stays_as_it_is() -> None:
    other = wordvectors.MODEL.read()
    assert with_hard_swish(other) == other


@pytest.mark.parametrize("part", [b"\xff" * 20, b"\x3a\xff\x01abc", b"\x0b"])
def test_what_is_no_model_is_refused(part: bytes) -> None:
    with pytest.raises(ValueError, match="this is not ONNX that can be read"):
        with_hard_swish(part)


def test_another_constant_is_another_function(model: bytes) -> None:
    """Of x * clip(x + 3, 0, 6) / 5 the last number is wrong."""
    six, five = np.float32(6).tobytes(), np.float32(5).tobytes()
    changed = model.replace(six, five)
    assert changed != model
    assert b"HardSwish" not in with_hard_swish(changed)
