"""Tests of the Prefect side that need no Prefect."""
