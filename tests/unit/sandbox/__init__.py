"""Tests of tasks/sandbox."""
