"""Tests of what stands on a page: words into lines, tables, figures, captions."""
