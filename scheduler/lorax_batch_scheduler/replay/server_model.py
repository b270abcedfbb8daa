"""How fast one server is: a family on a GPU kind, with the memory that it has."""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.replay.trace import GPU_KINDS, GpuKind, Trace, TraceFamily, TraceJob, TraceModel, TraceSlot
from lorax_batch_scheduler.server_memory import ADAPTER_MEMORY, MIN_KV_TOKENS, kv_tokens, least_memory_bytes

REFERENCE_PARAMETERS: Final = 7_241_732_096
REFERENCE_WEIGHT_BYTES: Final = 14_483_464_192
ADAPTER_FACTOR: Final = 1.4
"""A decode step is so much longer when any running row has an adapter (reported: 1.3 to 2)."""
ADAPTER_LOAD_S: Final = 0.7
ADAPTER_OFFLOAD_S: Final = 0.05
ADAPTER_DOWNLOAD_S: Final = 4.0
"""From the hub to a node that has not got it."""
ADAPTER_COPY_S: Final = 0.1
DOWNLOAD_BYTES_PER_S: Final = 250_000_000
"""Of weights that a node has not got yet."""
READ_BYTES_PER_S: Final = 500_000_000
"""Of weights from the node's disk, against those of the reference model."""
MAX_ROWS: Final = 1024
"""Permits of a server that is started for batch work."""
PREFILL_TOKENS: Final = 16_384
"""Of one prefill batch of a server that is started for batch work."""
PROMPT_SPREAD: Final = 32
"""A drawn prompt has at most so many times the median's tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerModel:
    """Step times and capacities of one server; seconds, tokens, rows."""

    decode_base_s: float
    decode_row_s: float
    prefill_base_s: float
    prefill_token_s: float
    cold_start_s: float
    download_s: float
    kv_tokens: int
    max_rows: int = MAX_ROWS
    prefill_tokens: int = PREFILL_TOKENS
    adapter_slots: int = 64
    """Adapters that fit on the GPU at once."""

    def decode_s(self, rows: int, *, with_adapters: bool) -> float:
        """Return the time of one decode step."""
        step = self.decode_base_s + self.decode_row_s * rows
        return step * ADAPTER_FACTOR if with_adapters else step

    def prefill_s(self, prompt_tokens: int) -> float:
        """Return the time to read so many prompt tokens in one batch."""
        return self.prefill_base_s + self.prefill_token_s * prompt_tokens

    def least_s(
        self,
        prompt_tokens: float,
        output_tokens: float,
        reserved_tokens: float,
        *,
        adapter: bool,
        window_part: float = 1.0,
    ) -> float:
        """Return the least part of a server's time that a row can take, with as many beside it as fit, or a part.

        A step over rows that reserve R tokens together takes at least base * R / KV + row * rows, since R <= KV; and
        base * rows / permits + row * rows likewise. Each row's part of that is counted here.
        """
        share = max(reserved_tokens / self.kv_tokens, 1 / self.max_rows) / window_part
        step = self.decode_base_s * share + self.decode_row_s
        decode = step * max(output_tokens - 1, 0) * (ADAPTER_FACTOR if adapter else 1.0)
        return decode + self.prefill_token_s * prompt_tokens


def kind_of(trace: Trace, slot: TraceSlot) -> GpuKind:
    """Return the figures of a slot's GPU."""
    return trace.gpu_kinds.get(slot.kind) or GPU_KINDS[slot.kind]


def need_bytes(model: TraceModel, row_tokens: int = 0) -> int:
    """Return the least GPU memory of a server of a model that rows of so many tokens fit into."""
    return least_memory_bytes(model.weight_bytes, model.kv_bytes_per_token, row_tokens)


def server_model(kind: GpuKind, memory_bytes: int, model: TraceModel, family: TraceFamily) -> ServerModel | None:
    """Return how a server of the family runs on so much memory of such a GPU; None when it does not fit."""
    tokens = kv_tokens(memory_bytes, model.weight_bytes, model.kv_bytes_per_token)
    if tokens < MIN_KV_TOKENS:
        return None
    weight = model.weight_bytes / REFERENCE_WEIGHT_BYTES
    compute = model.parameters / REFERENCE_PARAMETERS
    read_s = (model.weight_bytes - REFERENCE_WEIGHT_BYTES) / READ_BYTES_PER_S
    return ServerModel(
        decode_base_s=kind.decode_base_s * weight,
        decode_row_s=kind.decode_row_s * compute,
        prefill_base_s=kind.prefill_base_s,
        prefill_token_s=kind.prefill_token_s * compute,
        cold_start_s=max(kind.cold_start_s + read_s, kind.cold_start_s / 2),
        download_s=model.weight_bytes / DOWNLOAD_BYTES_PER_S,
        kv_tokens=tokens,
        adapter_slots=max(int(ADAPTER_MEMORY * memory_bytes / family.adapter_bytes), 1),
    )


class ServerModels:
    """The servers that a trace's families can have on its slots."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._models = {model.name: model for model in trace.models}
        self._families = {family.id: family for family in trace.families}
        self._made: dict[tuple[str, str, int], ServerModel | None] = {}
        self._by_kind = {family.id: self._best_by_kind(family.id) for family in trace.families}
        self._row_tokens = {family.id: self._most_row_tokens(family.id) for family in trace.families}

    def on_slot(self, family_id: str, slot: TraceSlot, memory_bytes: int = 0) -> ServerModel | None:
        """Return a server with so much of the slot's memory (0: all of it); None when it does not fit."""
        key = family_id, slot.id, memory_bytes or slot.memory_bytes
        if key not in self._made:
            family = self._families[family_id]
            model = self._models[family.model]
            self._made[key] = server_model(kind_of(self._trace, slot), key[2], model, family)
        return self._made[key]

    def with_memory(self, family_id: str, slot: TraceSlot, memory_bytes: int) -> ServerModel:
        """Return a server that fits. Raises `ValueError` when it does not."""
        made = self.on_slot(family_id, slot, memory_bytes)
        if made is None:
            raise ValueError(f"a server of {family_id} does not fit into {memory_bytes} bytes of {slot.id}")
        return made

    def by_kind(self, family_id: str) -> dict[str, ServerModel]:
        """Return the best server by GPU kind: on the slot of the kind with the most memory."""
        return self._by_kind[family_id]

    def row_tokens(self, family_id: str) -> int:
        """Return how many tokens a row may reserve: as many as fit into the smallest server of the family."""
        return self._row_tokens[family_id]

    def first_load_s(self) -> float:
        """Return the least slot-seconds that the first load of an adapter takes.

        A slot that fails in the middle of one leaves the files on the node for nothing.
        """
        return ADAPTER_LOAD_S + (ADAPTER_COPY_S if self._trace.failures else ADAPTER_DOWNLOAD_S)

    def download_s(self, family_id: str) -> float:
        """Return how long a node takes to get the weights."""
        return self._models[self._families[family_id].model].weight_bytes / DOWNLOAD_BYTES_PER_S

    def _best_by_kind(self, family_id: str) -> dict[str, ServerModel]:
        best: dict[str, ServerModel] = {}
        for slot in self._trace.slots:
            made = self.on_slot(family_id, slot)
            if made is not None and (slot.kind not in best or made.kv_tokens > best[slot.kind].kv_tokens):
                best[slot.kind] = made
        return best

    def _most_row_tokens(self, family_id: str) -> int:
        fit = [made.kv_tokens for slot in self._trace.slots if (made := self.on_slot(family_id, slot)) is not None]
        smallest = min(fit, default=MIN_KV_TOKENS)
        asked = [_asked_tokens(job) for job in self._trace.jobs if job.family == family_id]
        return min(smallest, max(asked, default=smallest))


def _asked_tokens(job: TraceJob) -> int:
    """Return what the job's largest row may reserve; prompts that are drawn have no limit."""
    if job.drawn is not None:
        return max(PROMPT_SPREAD * round(job.drawn.prompt_median) + job.drawn.max_tokens, MIN_KV_TOKENS)
    return max(group.prompt_tokens + max(group.max_tokens, group.output_tokens) for group in job.rows)
