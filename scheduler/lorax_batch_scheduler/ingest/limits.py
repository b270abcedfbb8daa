"""What ingest accepts and how much memory it may use."""

from typing import Final

import msgspec

from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES

MAX_CUSTOM_ID_CHARACTERS: Final = 512
MAX_MODEL_CHARACTERS: Final = 1_024
MAX_STOP_SEQUENCES: Final = 4
"""As a LoRAX server takes by default."""
MAX_EMBEDDING_INPUTS: Final = 2_048
MAX_SCHEMA_DEPTH: Final = 64
"""Levels of objects and arrays inside a JSON schema."""


class IngestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one run; the defaults fit a LoRAX server with default settings."""

    max_line_bytes: int = (2 << 20) - 4_096
    """Just below the 2 MiB that LoRAX accepts as a body."""
    max_tokens: int = 1 << 20
    """The largest `max_tokens` a row may ask for; more than any model's context is a slip."""
    max_groups: int = 100_000
    """Distinct (url, model, adapter source)."""
    max_input_bytes: int = 1 << 40
    """Of the file as it comes."""
    max_decompressed_bytes: int = 1 << 40
    max_lines: int = 1 << 32
    lines_way_out: str = "split it"
    """What to do about a file with more."""
    max_buffered_bytes: int = 64 << 20
    """Of rows that wait in memory for their chunk to be full."""
    adapter_sources: tuple[str, ...] = ADAPTER_SOURCES
    """Those that rows may name. Without `local`, their adapters may not be paths either."""
    pack_bytes: int = 64 << 20
    """A pack file is closed once it is this large."""
