"""What a run must remember to go on when it is started again."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A file in the data directory for each output: which run it belongs to, and its job."""

    path: Path
    request_id: str
    """The same for the same input (path, size, time of change) and the same arguments."""

    @classmethod
    def of_run(cls, state_dir: Path, file: Path, output: Path, **arguments: str | int) -> Self:
        """Return the record of a run."""
        stat = file.stat()
        identity = [str(file.resolve()), stat.st_size, stat.st_mtime_ns, str(output.absolute()), arguments]
        output_hash = _hash(str(output.absolute()))[:16]
        return cls(path=state_dir / f"run-{output_hash}.json", request_id=f"run-{_hash(json.dumps(identity))}")

    def job_id(self) -> str:
        """Return the job of this very run; empty when it has none yet."""
        written = self._read()
        return written["job_id"] if written.get("request_id") == self.request_id else ""

    def other_job_ids(self) -> list[str]:
        """Return the job that another input or other arguments left under the same output."""
        written = self._read()
        return [written["job_id"]] if written and written["request_id"] != self.request_id else []

    def write(self, job_id: str) -> None:
        """Remember the job of this run."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"request_id": self.request_id, "job_id": job_id}))
        part.replace(self.path)

    def _read(self) -> dict[str, str]:
        try:
            written: dict[str, str] = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        return written


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
