"""Tests of what may be asked for."""
