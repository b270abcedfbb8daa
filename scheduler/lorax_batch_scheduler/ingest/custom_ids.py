"""Finds custom_ids that occur twice, without keeping them in memory: 8 bytes a row, and those go to disk in turn."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_BUCKETS: Final = 256
_MAX_HASHES_IN_MEMORY: Final = 4 << 20
_MAX_SUSPECTS: Final = 250_000
"""Hashes confirmed in one pass over the ids."""


class CustomIds:
    """The custom_id of every line, valid or not. *Resources*: an open file until `close`."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._ids_path = scratch / "custom-ids"
        self._ids: BinaryIO = self._ids_path.open("wb")
        self._buckets = [array("q") for _ in range(_BUCKETS)]
        self._spilled = False

    def add_lines(self, custom_ids: list[bytes]) -> None:
        """Take the ids of consecutive lines as JSON strings: empty for none, with a `!` before an invalid line's."""
        buckets = self._buckets
        for custom_id in custom_ids:
            if custom_id:
                # Python's own hash: seeded anew for each process, so nobody can craft collisions.
                value = hash(custom_id if custom_id[0] != 33 else custom_id[1:])
                buckets[value & 255].append(value)
        custom_ids.append(b"")
        self._ids.write(b"\n".join(custom_ids))

    def relieve(self) -> None:
        """Write the hashes to disk when they are many; to be called now and then."""
        if sum(map(len, self._buckets)) > _MAX_HASHES_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        self._spilled = True
        for number, bucket in enumerate(self._buckets):
            with self._bucket_path(number).open("ab") as file:
                bucket.tofile(file)
            self._buckets[number] = array("q")

    def _bucket_path(self, number: int) -> Path:
        return self._scratch / f"custom-id-hashes-{number:03d}"

    def duplicates(self) -> Iterator[tuple[int, int, str]]:
        """Yield (line, first line, id as JSON) of every valid line whose id stands in an earlier line."""
        self._ids.flush()
        suspects: set[int] = set()
        for number in range(_BUCKETS):
            suspects |= self._repeated(number)
            if len(suspects) >= _MAX_SUSPECTS:
                yield from self._confirm(suspects)
                suspects = set()
        if suspects:
            yield from self._confirm(suspects)

    def _repeated(self, number: int) -> set[int]:
        """Return the hashes that occur more than once in a bucket."""
        bucket, self._buckets[number] = self._buckets[number], array("q")
        if self._spilled:
            path = self._bucket_path(number)
            with path.open("rb") as file:
                bucket.frombytes(file.read())
            path.unlink()
        distinct = set(bucket)
        if len(distinct) == len(bucket):
            return set()
        repeated: set[int] = set()
        for value in bucket:
            if value in distinct:
                distinct.remove(value)
            else:
                repeated.add(value)
        return repeated

    def _confirm(self, suspects: set[int]) -> Iterator[tuple[int, int, str]]:
        """Compare the ids behind equal hashes."""
        first: dict[bytes, int] = {}
        with self._ids_path.open("rb") as ids:
            for line, text in enumerate(ids, start=1):
                custom_id = text[:-1].removeprefix(b"!")
                if custom_id and hash(custom_id) in suspects:
                    first_line = first.setdefault(custom_id, line)
                    if first_line != line and text[0] != 33:
                        yield line, first_line, custom_id.decode()

    def close(self) -> None:
        """Delete the files."""
        self._ids.close()
        self._ids_path.unlink(missing_ok=True)
        for number in range(_BUCKETS if self._spilled else 0):
            self._bucket_path(number).unlink(missing_ok=True)
