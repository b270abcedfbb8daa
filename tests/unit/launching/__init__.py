"""Tests of what servers are started with, without I/O."""
