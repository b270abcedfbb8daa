"""Datasets: the chunks of a ready one hold its rows, the parts of an upload its bytes."""

from collections.abc import Iterator

from lorax_batch_scheduler.dataset import ChunkKind, DatasetState

from tests.invariants.snapshot import Row, Snapshot, by


def dataset_problems(snapshot: Snapshot) -> Iterator[str]:
    chunks, parts = by(snapshot.dataset_chunks, "dataset_id"), by(snapshot.upload_parts, "dataset_id")
    for dataset in snapshot.datasets:
        dataset_id = dataset["dataset_id"]
        if dataset["state"] == DatasetState.READY:
            yield from _ready(dataset, chunks[dataset_id])
        elif chunks[dataset_id]:
            yield f"dataset {dataset_id} is {dataset['state']}, but has {len(chunks[dataset_id])} chunks"
        if dataset["state"] in (DatasetState.UPLOADING, DatasetState.VALIDATING) and dataset["source_path"] is None:
            yield from _uploaded(dataset, parts[dataset_id])


def _ready(dataset: Row, chunks: list[Row]) -> Iterator[str]:
    dataset_id = dataset["dataset_id"]
    for column, kinds in (("row_count", tuple(ChunkKind)), ("invalid_row_count", (ChunkKind.INVALID,))):
        rows = sum(chunk["row_count"] for chunk in chunks if chunk["kind"] in kinds)
        if rows != dataset[column]:
            yield f"dataset {dataset_id} has {column} {dataset[column]}, but its chunks hold {rows} such rows"
    numbers = [chunk["chunk_no"] for chunk in chunks]
    if numbers != list(range(len(chunks))):
        yield f"dataset {dataset_id} has chunks {numbers}, which are not numbered without a gap"
    if chunks and not dataset["storage_prefix"]:
        yield f"dataset {dataset_id} is READY, but does not say where its chunks are"


def _uploaded(dataset: Row, parts: list[Row]) -> Iterator[str]:
    dataset_id, end = dataset["dataset_id"], 0
    for part in parts:
        if part["first_byte"] != end:
            yield f"dataset {dataset_id} has a part at byte {part['first_byte']} behind one that ends at {end}"
        end = part["first_byte"] + part["byte_count"]
    if end != dataset["stored_bytes"]:
        yield f"dataset {dataset_id} says that {dataset['stored_bytes']} bytes are stored, but its parts end at {end}"
