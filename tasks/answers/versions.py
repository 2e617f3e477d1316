"""What made an answer: the versions that summaries of queries and evaluations name."""

from __future__ import annotations

from patchlight.tasks.common.versions import current_versions
from patchlight.tasks.grounding import spanweights, valueweights


def answer_versions() -> dict[str, str]:
    """Versions of patchlight and of the weights that choose spans and values."""
    return current_versions(
        span_weights=spanweights.WEIGHTS_VERSION, value_weights=valueweights.WEIGHTS_VERSION
    )
