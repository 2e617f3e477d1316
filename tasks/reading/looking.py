"""What a page shows beside its words: the file's own objects, its drawing, and what is in that.

The input of ``tasks.regions.proposals``; it runs where documents are opened.
"""

from __future__ import annotations

from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode
from patchlight.tasks.documents import opening
from patchlight.tasks.documents.protocol import OpenDocument, PageShape
from patchlight.tasks.regions import hierarchy, layoutmodel, proposals
from patchlight.tasks.regions.figures import Boxes, inked_of
from patchlight.tasks.regions.proposals import BesideWords
from patchlight.tasks.regions.ruledlines import rules_of

_SHARPER = 1.5
"""The page is drawn this much larger than the model sees it: for thin lines, and it finds a bit
more in what is scaled down. It depends on no option, so that regions do not either."""

_MOST_PIXELS = 4_000_000
"""Of that drawing; a page like a ribbon is drawn smaller."""

_POINTS_PER_INCH = 72.0


_FIRST_PROPOSALS = 1
"""Version of proposals that fingerprints do not name: those of pages stored with it never did."""


def regions_made(mode: LayoutMode, *, drawn: bool = True) -> str:
    """Fingerprint of a page's regions.

    Args:
        mode: whether the layout model looks.
        drawn: whether the page could be drawn for it.
    """
    made = f"regions-{hierarchy.REGIONS_VERSION}"
    if proposals.PROPOSALS_VERSION != _FIRST_PROPOSALS:
        made += f":proposals-{proposals.PROPOSALS_VERSION}"
    if mode is LayoutMode.NEVER:
        return f"{made}:{mode}"
    how = mode.value if drawn else "not drawn"
    version = layoutmodel.LAYOUT_VERSION
    return f"{made}:{how}:layout-{version}:render-{opening.RENDER_VERSION}"


def regions_as_made(mode: LayoutMode) -> frozenset[str]:
    """Fingerprints of regions that looking at a page in this mode may give."""
    return frozenset(regions_made(mode, drawn=drawn) for drawn in (True, False))


def look(
    document: OpenDocument,
    page: int,
    shape: PageShape,
    words: Boxes,
    mode: LayoutMode,
    limits: Limits,
    *,
    draw: bool,
) -> BesideWords:
    """Look at a page.

    Args:
        document: the open document.
        page: 1-based number.
        shape: its size.
        words: (n, 4) boxes of its words, fractions of the page.
        mode: whether the layout model looks.
        limits: what a page may take.
        draw: False for a page that cannot be drawn. It may have words and objects all the same.

    Raises:
        SourceError: the page cannot be read.
        LayoutUnavailable: the layout model is not installed.
    """
    objects = document.objects(page)
    if mode is LayoutMode.NEVER or not draw:
        return BesideWords(objects=objects)
    scale = _SHARPER * max(layoutmodel.WIDTH / shape.width_pt, layoutmodel.HEIGHT / shape.height_pt)
    pixels = min(_MOST_PIXELS, limits.max_pixels)
    dpi = shape.dpi_within(pixels, scale * _POINTS_PER_INCH)
    drawing = document.render(page, dpi, gray=True)
    inked = inked_of(drawing, words)
    return BesideWords(layoutmodel.find(drawing), objects, rules_of(drawing), inked)
