"""Tests of what all common keep to."""
