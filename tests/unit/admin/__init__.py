"""Tests of tasks/admin."""
