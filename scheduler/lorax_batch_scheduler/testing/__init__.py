"""Shipped for tests and the demo."""
