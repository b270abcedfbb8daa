"""Sending rows to one server: the hot path, what answers mean, and how much a server takes."""
