"""Tests of reading a page, and of what must be read again."""
