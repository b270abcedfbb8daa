"""The one worker that downloads, loads and offloads adapters, strictly one after another."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lorax_simulator.adapters import Adapter, AdapterStatus
from lorax_simulator.hub import AdapterHub
from lorax_simulator.shard import Operation, Shard


@dataclass(slots=True)
class LoaderCounts:
    """How often each job ended well since the process started."""

    downloads: int = 0
    loads: int = 0
    offloads: int = 0


class Loader:
    """A FIFO of jobs; each holds the shard while it runs, so it stops token generation."""

    def __init__(
        self, *, shard: Shard, hub: AdapterHub, counts: LoaderCounts, on_change: Callable[[Adapter], None]
    ) -> None:
        self._shard = shard
        self._hub = hub
        self._counts = counts
        self._on_change = on_change
        self._jobs: deque[tuple[str, Adapter]] = deque()

    def download(self, adapter: Adapter, now: float) -> None:
        """Fetch the adapter's files and learn its cost."""
        self._queue("download", adapter, now)

    def load(self, adapter: Adapter, now: float) -> None:
        """Copy the adapter to the GPU."""
        self._queue("load", adapter, now)

    def offload(self, adapter: Adapter, now: float) -> None:
        """Take the adapter off the GPU."""
        self._queue("offload", adapter, now)

    def _queue(self, job: str, adapter: Adapter, now: float) -> None:
        self._jobs.append((job, adapter))
        if len(self._jobs) == 1:
            self._begin(now)

    def _begin(self, now: float) -> None:
        job, adapter = self._jobs[0]
        seconds = self._hub.seconds(job, adapter.id, adapter.source)
        self._shard.ask(Operation(job, seconds, self._end), now)

    def _end(self, now: float) -> None:
        job, adapter = self._jobs.popleft()
        if adapter.status is not AdapterStatus.ERRORED:
            self._apply(job, adapter)
        if self._jobs:
            self._begin(now)
        self._on_change(adapter)

    def _apply(self, job: str, adapter: Adapter) -> None:
        error = self._hub.error(job, adapter.id, adapter.source)
        if job == "download":
            self._hub.note_download(adapter.id)
        if error is not None:
            adapter.status, adapter.error = AdapterStatus.ERRORED, error
        elif job == "download":
            adapter.status, adapter.cost = AdapterStatus.DOWNLOADED, self._hub.cost(adapter.id)
            self._counts.downloads += adapter.id != ""
        elif job == "load":
            adapter.status = AdapterStatus.READY
            self._counts.loads += adapter.id != ""
            self._hub.note_load(adapter.id)
        else:
            self._counts.offloads += adapter.id != ""
