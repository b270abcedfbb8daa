"""Tests of ingest with its process and stores."""
