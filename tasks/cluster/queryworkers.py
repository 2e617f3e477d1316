"""The Ray tasks that answer queries: ranking, grounding, drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from patchlight.storage.reader import Snapshot
from patchlight.storage.records import QueryEncoding
from patchlight.tasks.answers import overlays
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.answers.overlays import DocumentOverlays
from patchlight.tasks.cluster import waiting
from patchlight.tasks.cluster.encoderactors import WORKER_DEATHS
from patchlight.tasks.cluster.telling import telling
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.grounding import places
from patchlight.tasks.grounding.records import FoundPage, PagePlaces
from patchlight.tasks.retrieval import ranking
from patchlight.tasks.retrieval.ranking import Hits, PagesToRank
from patchlight.tasks.retrieval.scope import Catalog, Positions


class QueryWorkers:
    """The Ray tasks that answer queries. May be used from many threads.

    Args:
        snapshot: of the database; shared with workers once.
        catalog: all pages that may be seen; a worker is sent what it needs of it.
        options: how pages and regions are chosen.
        limits: what a file and a page may take that is drawn.
    """

    def __init__(
        self, snapshot: Snapshot, catalog: Catalog, options: RetrievalOptions, limits: Limits
    ) -> None:
        self._snapshot = ray.put(snapshot)
        self._catalog = catalog
        self._ranking = options.ranking
        self._grounding = options.grounding
        self._limits = limits
        self._rank = ray.remote(num_cpus=1)(telling(ranking.rank_stored_pages))
        self._ground = ray.remote(num_cpus=1)(telling(places.ground))
        self._draw = ray.remote(num_cpus=1, max_retries=1)(telling(overlays.draw))

    def share(self, encodings: Sequence[QueryEncoding], scopes: Sequence[Positions | None]) -> Any:
        """Put the queries of a block where all workers reach them, with what each may look at."""
        return ray.put(encodings), ray.put(scopes)

    def rank(self, shared: Any, positions: Positions) -> Hits:
        """Rank some pages for a shared block; see ``ranking.rank_stored_pages``."""
        encodings, scopes = shared
        hits: Hits = waiting.get(
            self._rank.remote(
                self._snapshot,
                PagesToRank.of(self._catalog, positions),
                encodings,
                scopes,
                self._ranking,
            )
        )
        return hits

    def ground(self, pages: Mapping[str, FoundPage]) -> dict[str, list[PagePlaces]]:
        """Propagate to regions; see ``places.ground``."""
        regions: dict[str, list[PagePlaces]] = waiting.get(
            self._ground.remote(self._snapshot, pages, self._grounding)
        )
        return regions

    def draw(self, document: DocumentOverlays) -> dict[str, str]:
        """Draw a document's pictures; see ``overlays.draw``."""
        try:
            problems: dict[str, str] = waiting.get(self._draw.remote(document, self._limits))
            return problems
        except WORKER_DEATHS as death:
            reason = f"the process drawing it died ({type(death).__name__})"
            return {overlay.out: reason for overlay in document.overlays}
