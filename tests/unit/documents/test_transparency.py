"""What a transparent image is laid on."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from patchlight.tasks.documents.opening import open_document


def test_a_light_picture_with_round_corners_stays_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (300, 150), (240, 240, 240, 255))
    image.paste((255, 255, 255, 0), (0, 0, 20, 20))
    image.save(tmp_path / "a.png")
    with open_document(str(tmp_path / "a.png")) as document:
        assert document.render(1, 150, gray=True)[5, 5] == 255
