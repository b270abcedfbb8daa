"""Webhooks on a real PostgreSQL, to a real receiver."""
