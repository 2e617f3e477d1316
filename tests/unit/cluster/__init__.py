"""Tests of what runs on Ray, that need no Ray."""
