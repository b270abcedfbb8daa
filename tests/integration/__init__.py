"""Tests on the real thing: PostgreSQL, HTTP, processes."""
