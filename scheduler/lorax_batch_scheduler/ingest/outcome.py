"""What ingest leaves behind."""

import msgspec

from lorax_batch_scheduler.dataset import ChunkEntry, DatasetSummary


class IngestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the bytes of a dataset."""

    summary: DatasetSummary
    reason: str
    """Why the dataset can't be used, for a person to read; empty when it can."""
    chunks: list[ChunkEntry]
    """Empty unless the dataset can be used."""
    packs: list[str]
    """File names in the scratch directory, in the order of `ChunkEntry.pack`."""
