"""Options of the object store that a database lies in: one setting, read where tables are opened.

Each process of a run, on each node, takes it from its own environment. It may hold keys, so it
is never passed on, shown or stored.
"""

from __future__ import annotations

import json
import os

from patchlight.storage.errors import StorageUnavailable

STORAGE_OPTIONS = "PATCHLIGHT_STORAGE_OPTIONS"
"""The environment variable: a JSON object of texts, passed to LanceDB untouched."""


def storage_options() -> dict[str, str] | None:
    """The options, as the engine wants them; None for none.

    Raises:
        StorageUnavailable: the variable cannot be read.
    """
    try:
        return storage_options_of(os.environ.get(STORAGE_OPTIONS, "")) or None
    except ValueError as error:
        raise StorageUnavailable(f"{STORAGE_OPTIONS}: {error}") from error


def storage_options_of(text: str) -> dict[str, str]:
    """Options from the text of the variable.

    Args:
        text: a JSON object whose values are texts; empty for no options.

    Raises:
        ValueError: it is something else. The message does not repeat it: it may hold keys.
    """
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None  # the cause would hold the text
    if not isinstance(options, dict) or not all(isinstance(v, str) for v in options.values()):
        raise ValueError('it must be a JSON object of texts, like {"aws_region": "eu-west-1"}')
    return options
