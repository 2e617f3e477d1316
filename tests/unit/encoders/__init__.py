"""Tests of tasks/encoders."""
