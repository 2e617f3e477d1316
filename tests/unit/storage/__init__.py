"""Tests of storage that need no process of their own."""
