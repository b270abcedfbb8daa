"""Estimates, without I/O."""
