"""Slots, and the servers that run on them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from lorax_batch_scheduler.server_config import ServerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place where one LoRAX server can run."""

    slot_id: str
    kind: str
    """`static`: a fixed URL; `command` and `kubernetes`: servers are started and stopped on it."""
    url: str = ""
    """Of a static slot; others get theirs with each server."""
    gpu_kind: str = ""
    """What throughput is learned for, like "a100-80"; slots of one kind are alike. "": unknown."""
    memory_bytes: int = 0
    """GPU memory that its servers share; 0: unknown, as of a static slot."""
    gpu_share: float = 1.0
    """The part of its GPU that `memory_bytes` is; less than 1 where slots share a GPU."""
    node: str = ""
    """Slots of one node share downloaded weights; "": a node of its own."""
    start_timeout_s: float = 1_800.0
    """A server that is not ready so long after its start has failed; a first download of weights takes minutes."""
    declared_model: str | None = None
    """The model that the configuration declares; None: what the server reports."""
    default_model: str | None = None
    """The model of a server that reports none."""
    max_in_flight: int | None = None
    """A ceiling for rows in flight set by the configuration."""

    @property
    def is_fixed(self) -> bool:
        """Whether its server is neither started nor stopped by us."""
        return self.kind == "static"


class ServerState(StrEnum):
    """How a server is."""

    STARTING = "STARTING"
    """Was started, and loads its model."""

    UNREACHABLE = "UNREACHABLE"
    """Does not answer yet, or not any more; it is asked again and again."""
    READY = "READY"
    SUSPECT = "SUSPECT"
    """Answers, but rows fail or do not end."""
    DRAINING = "DRAINING"
    """Gets no new rows."""
    DRAINED = "DRAINED"
    """Of a fixed URL whose slot is out of service: gets no rows, and is not asked how it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a server reports of itself, or a conservative guess where it does not."""

    model_id: str
    """As the server reports it."""
    version: str = ""
    max_concurrent_requests: int = 32
    """Conservative: an engine that does not say is not flooded."""
    max_total_tokens: int | None = None
    """Prompt + output tokens of a row; None: unknown."""
    max_input_length: int | None = None
    max_batch_total_tokens: int | None = None
    """KV capacity in tokens."""
    max_stop_sequences: int | None = None
    max_best_of: int | None = None
    is_lorax: bool = False
    """Whether `/info` is LoRAX's; others get plain OpenAI bodies (`model` is never "")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server as callers see it."""

    server_id: str
    slot: Slot
    url: str
    """Where it is; "" while it has no address."""
    state: ServerState
    reason: str
    limits: ServerLimits | None
    """None while it has never answered."""
    base_model_id: str | None
    """The catalogue's name of its model; None where the catalogue does not know it."""
    in_flight: int
    in_flight_limit: int
    rows_per_second: float
    tokens_per_second: float
    warm_adapters: list[str]
    row_latency_s: float | None
    """Median of the last rows."""
    ready_time: datetime | None
    update_time: datetime
    adapter_loads: int = 0
    """How often an adapter was loaded on it for a first row, as far as the service knows."""
    config: ServerConfig | None = None
    """What it was started with, by this life of the service or an earlier one; None: not by us."""
    launch_arguments: tuple[str, ...] = ()
    """Of its launcher, without the model and the address; none where it was not started by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """A slot as callers see it."""

    slot: Slot
    server_ids: tuple[str, ...]
    """What runs on it."""
    reason: str
    """Why it runs what it runs, or why nothing."""
    starts: int = 0
    """How many servers were started on it since the service began."""
    failed_starts: int = 0
    """How many starts on it have failed since then."""
    drained: bool = False
    """An operator has taken it out of service. The store adds it: a scheduler's own word is not asked."""
    drain_reason: str = ""
    """What the operator said."""
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """The jobs of one base model that wait for rows to be run, or run."""

    base_model_id: str
    jobs_queued: int = 0
    jobs_running: int = 0
    """Starting ones too."""
    rows_left: int = 0
    """Rows of these jobs without a result."""
    tokens_left: int = 0
    """Estimate of their prompt tokens, and of output tokens as long as the rows before them were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """All slots, servers and queues at one moment, each by its id."""

    slots: dict[str, SlotStatus] = field(default_factory=dict)
    servers: dict[str, ServerStatus] = field(default_factory=dict)
    queues: dict[str, QueueStatus] = field(default_factory=dict)
