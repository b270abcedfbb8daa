"""Tests of what the runner decides, without I/O."""
