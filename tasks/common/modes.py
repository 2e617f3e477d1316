"""What a person may choose of how pages are read: when there is OCR, and who looks at them.

They stand apart from what they steer, so that settings and the command line load no reader.
"""

from __future__ import annotations

from enum import StrEnum


class OcrMode(StrEnum):
    """When pages go through OCR."""

    AUTO = "auto"
    """Pages without a usable text layer."""
    ALWAYS = "always"
    """Every page, whatever text layer it has."""
    NEVER = "never"
    """No page; one without a text layer has no words."""


class LayoutMode(StrEnum):
    """Whether the layout model looks at pages."""

    AUTO = "auto"
    """At every page."""
    NEVER = "never"
    """At none: regions come from words, and from the file's own pictures and graphics."""
