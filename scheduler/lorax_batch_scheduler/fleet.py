"""Slots, and the servers that run on them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place where one LoRAX server can run."""

    slot_id: str
    kind: str
    """`static`: a fixed URL."""
    url: str
    declared_model: str | None = None
    """The model that the configuration declares; None: what the server reports."""
    default_model: str | None = None
    """The model of a server that reports none."""
    max_in_flight: int | None = None
    """A ceiling for rows in flight set by the configuration."""


class ServerState(StrEnum):
    """How a server is."""

    UNREACHABLE = "UNREACHABLE"
    """Does not answer yet, or not any more; it is asked again and again."""
    READY = "READY"
    SUSPECT = "SUSPECT"
    """Answers, but rows fail or do not end."""
    DRAINING = "DRAINING"
    """Gets no new rows."""


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
