"""Bit sets of rows as PostgreSQL stores them: row i is bit i, counted from the lowest bit of the first byte."""

import asyncpg


def to_varbit(bits: int, row_count: int) -> asyncpg.BitString:
    """Return the stored form, padded to whole bytes."""
    width = (row_count + 7) // 8
    return asyncpg.BitString.frombytes(bits.to_bytes(width, "little"), width * 8)


def from_varbit(stored: asyncpg.BitString) -> int:
    """Read the stored form."""
    return int.from_bytes(stored.bytes, "little")
