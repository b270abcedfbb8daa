"""Where adapters come from: how long each takes, what it costs, and how it fails."""

import math
import random
import re
import time
from collections import Counter
from typing import TextIO

from lorax_simulator import shard_errors
from lorax_simulator.faults import Faults
from lorax_simulator.node_cache import NodeCache
from lorax_simulator.timing import Timing

ADAPTER_COST = 0.011
SOURCES = ("hub", "local", "s3", "pbase")
SLOW_DOWNLOAD_SECONDS = 60.0
_SPREAD = 0.6  # sigma of the lognormal times
_MISSING = re.compile(r"^missing/")


class AdapterHub:
    """Answers for any adapter id, the same for the same seed; ids under `missing/` do not exist."""

    def __init__(
        self,
        *,
        model_id: str,
        timing: Timing,
        faults: Faults,
        seed: int,
        cache: NodeCache | None = None,
        load_log: TextIO | None = None,
    ) -> None:
        self._model_id = model_id
        self._timing = timing
        self._faults = faults
        self._seed = seed
        self._cache = cache or NodeCache()
        self._load_log = load_log
        self._downloads: Counter[str] = Counter()

    def seconds(self, job: str, adapter_id: str, source: str) -> float:
        """Return how long a download, load or offload takes; the base model costs no time."""
        if not adapter_id:
            return 0.0
        timing = self._timing
        if job == "offload":
            return timing.offload
        if job == "load":
            return self._draw(job, adapter_id, timing.load_median, timing.load_shortest, timing.load_longest)
        if job == "download" and self._faults.fire_on_adapter("adapter-slow", adapter_id):
            return SLOW_DOWNLOAD_SECONDS
        if source == "local" or self._cache.has(self._model_id, adapter_id):
            return timing.local_download
        if self.error("download", adapter_id, source) is not None:
            return timing.download_shortest
        return self._draw(job, adapter_id, timing.download_median, timing.download_shortest, timing.download_longest)

    def cost(self, adapter_id: str) -> float:
        """Return the adapter's fraction of the memory for adapters."""
        return ADAPTER_COST if adapter_id else 0.0

    def error(self, job: str, adapter_id: str, source: str) -> str | None:
        """Return what the shard raises at the end of the job, or None when it ends well."""
        if not adapter_id or job != "download":
            return None
        if "no-dynamic-adapters" in self._faults:
            return shard_errors.no_adapter_memory()
        if source not in SOURCES:
            return shard_errors.invalid_source(source)
        return self._content_error(adapter_id)

    def note_download(self, adapter_id: str) -> None:
        """Count a download that was tried: a flaky adapter fails only the first time."""
        fault = self._fault_of(adapter_id)
        if adapter_id and not self._faults.fire("no-dynamic-adapters") and fault is not None:
            self._faults.fire(fault)
        self._downloads[adapter_id] += 1
        if adapter_id and fault is None and not _MISSING.match(adapter_id):
            self._cache.add(self._model_id, adapter_id)

    def note_load(self, adapter_id: str) -> None:
        """Log an adapter that has come to the GPU."""
        if adapter_id and self._load_log is not None:
            self._load_log.write(f"{time.time():.6f} {self._model_id} {adapter_id}\n")

    def _fault_of(self, adapter_id: str) -> str | None:
        """Return the fault that the adapter's content suffers from."""
        hits = self._faults.hits_adapter
        if not adapter_id:
            return None
        for fault in ("adapter-not-found", "adapter-incompatible", "adapter-invalid", "adapter-too-large"):
            if hits(fault, adapter_id):
                return fault
        return "adapter-flaky" if hits("adapter-flaky", adapter_id) and not self._downloads[adapter_id] else None

    def _content_error(self, adapter_id: str) -> str | None:
        if _MISSING.match(adapter_id):
            return shard_errors.repository_not_found(adapter_id)
        match self._fault_of(adapter_id):
            case "adapter-not-found":
                return shard_errors.repository_not_found(adapter_id)
            case "adapter-incompatible":
                return shard_errors.incompatible_adapter(adapter_id, self._model_id)
            case "adapter-invalid":
                return shard_errors.not_an_adapter(adapter_id)
            case "adapter-too-large":
                return shard_errors.oversized_adapter(adapter_id)
            case "adapter-flaky":
                return shard_errors.download_timeout()
            case _:
                return None

    def _draw(self, job: str, adapter_id: str, median: float, shortest: float, longest: float) -> float:
        chance = random.Random(f"{self._seed}:{job}:{adapter_id}")  # noqa: S311  reproducible, not secret
        return min(longest, max(shortest, chance.lognormvariate(math.log(median), _SPREAD)))
