"""Duplicate ids are found whatever is in memory and on disk."""

from pathlib import Path
from random import Random

import pytest
from lorax_batch_scheduler.ingest import custom_ids
from lorax_batch_scheduler.ingest.custom_ids import CustomIds


def duplicates(scratch: Path, ids: list[bytes], block: int) -> list[tuple[int, int, str]]:
    """Feed ids in blocks and return what is found."""
    found = CustomIds(scratch)
    for start in range(0, len(ids), block):
        found.add_lines(ids[start : start + block])
        found.relieve()
    result = sorted(found.duplicates())
    found.close()
    assert list(scratch.iterdir()) == []
    return result


def expected(ids: list[bytes]) -> list[tuple[int, int, str]]:
    """Find duplicates with a set of strings."""
    first: dict[bytes, int] = {}
    result = []
    for line, text in enumerate(ids, start=1):
        name = text.removeprefix(b"!")
        if name and first.setdefault(name, line) != line and not text.startswith(b"!"):
            result.append((line, first[name], name.decode()))
    return result


@pytest.mark.parametrize(("in_memory", "suspects"), [(1 << 20, 1 << 20), (100, 1 << 20), (100, 3), (1 << 20, 1)])
def test_duplicates_are_found_in_memory_and_on_disk(tmp_path, monkeypatch, in_memory, suspects):
    monkeypatch.setattr(custom_ids, "_MAX_HASHES_IN_MEMORY", in_memory)
    monkeypatch.setattr(custom_ids, "_MAX_SUSPECTS", suspects)
    random = Random(3)
    ids = [random.choice([b"", b'"%d"', b'"%d"', b'!"%d"']) for _ in range(1_000)]
    ids = [text % random.randrange(1_500) if text else text for text in ids]
    assert duplicates(tmp_path, list(ids), 64) == expected(ids)


def test_equal_hashes_of_different_ids_are_no_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_ids, "hash", lambda text: len(text), raising=False)
    ids = [b'"a"', b'"b"', b'"c"', b'"a"']
    assert duplicates(tmp_path, list(ids), 2) == [(4, 1, '"a"')]
