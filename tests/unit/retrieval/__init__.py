"""Tests of tasks/retrieval."""
