"""Decisions about webhooks, without I/O."""
