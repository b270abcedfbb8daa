"""What a node has downloaded: weights and adapters, for all simulated servers that run there, and after a restart."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeCache:
    """A directory with an empty file for each thing that is there; without a directory everything is new each time."""

    directory: Path | None = None

    def has(self, *name: str) -> bool:
        """Tell whether a thing of that name is there."""
        return self.directory is not None and self._file(self.directory, name).exists()

    def add(self, *name: str) -> None:
        """Remember that a thing is there now."""
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._file(self.directory, name).touch()

    def _file(self, directory: Path, name: tuple[str, ...]) -> Path:
        # Ids are paths on the hub, and of any length.
        return directory / blake2b("\0".join(name).encode(), digest_size=16).hexdigest()
