"""Tests of files: which are meant, opening them, their text, and OCR."""
