"""Tests of tasks/answers."""
