"""Kinds of fleets."""
