"""Tests of the places on a page that answer a question."""
