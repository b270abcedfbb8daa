"""What is on disk of each server, so that the next life of the service finds the ones that outlived this one."""

import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.server_hosts.command.process import ProcessIdentity

_SUFFIX: Final = ".json"
_log = structlog.get_logger()


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was started. Holds no command line and no environment: there are secrets in them.

    What later versions add has a default, so that records of earlier ones are read.
    """

    server_id: str
    slot_id: str
    gpus: tuple[str, ...]
    share: float
    family: str
    model: str
    port: int
    master_port: int = 0
    """Where its shards find each other."""
    start_time: datetime
    grace_s: float
    stop: tuple[str, ...]
    cleanup: tuple[str, ...]
    process: ProcessIdentity | None = None
    """None only before it was started: then there is no file yet."""
    stopping: bool = False
    """It was told to end."""
    config: ServerConfig | None = None
    arguments: tuple[str, ...] = ()
    """Of its launcher, as `Launch` has them."""


class RecordFolder:
    """One file a server; there is one for as long as anything of the server may be left. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, record: ServerRecord) -> None:
        """Store a record durably, instead of the server's earlier one."""
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=self._path, delete=False) as file:
            try:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._file(record.server_id))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        self._sync()

    def remove(self, server_id: str) -> None:
        """Forget a server of which nothing is left."""
        self._file(server_id).unlink(missing_ok=True)
        self._sync()

    def read(self) -> list[ServerRecord]:
        """Return the records of all earlier lives, the newest first; what can't be read is logged and left alone."""
        records = []
        for path in self._path.glob(f"*{_SUFFIX}"):
            try:
                records.append(msgspec.json.decode(path.read_bytes(), type=ServerRecord))
            except (OSError, msgspec.DecodeError) as error:
                _log.warning("server_record_unreadable", file=path.name, error=str(error))
        return sorted(records, key=lambda record: record.start_time, reverse=True)

    def _file(self, server_id: str) -> Path:
        return self._path / f"{server_id}{_SUFFIX}"

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
