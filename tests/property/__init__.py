"""Tests of patchlight."""
