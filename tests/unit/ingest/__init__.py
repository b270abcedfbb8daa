"""Tests of the ingest engine."""
