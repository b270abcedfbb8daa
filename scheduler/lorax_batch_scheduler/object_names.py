"""Where objects lie in the object store: the keys of all that belong to a dataset or a job begin alike."""

from typing import Final

CHECKS_PREFIX: Final = "checks/"
"""What the keys of objects begin with that are written to see whether the store can be written."""
OWNER_KEY: Final = "owner"
"""The object that says whose database names the objects of a store."""
OWNED_PREFIXES: Final = (CHECKS_PREFIX, "datasets/", "results/", "uploads/")
"""All that a service writes begins with one of these; in key order."""


def uploads_prefix(dataset_id: str) -> str:
    """Return what the keys of the parts of an upload begin with."""
    return f"uploads/{dataset_id}/"


def dataset_prefix(dataset_id: str) -> str:
    """Return what the keys of the chunks of a dataset begin with; each attempt to ingest it has a folder below."""
    return f"datasets/{dataset_id}/"


def results_prefix(job_id: str) -> str:
    """Return what the keys of the files of a job begin with."""
    return f"results/{job_id}/"


def output_key(job_id: str, *, error: bool) -> str:
    """Return the key of one of a job's two files."""
    return f"{results_prefix(job_id)}{'errors' if error else 'output'}.jsonl"
