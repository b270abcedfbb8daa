"""Slots, servers and queues as the service tells them."""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from lorax_batch.v1 import fleet_pb2

from lorax_batch_client.server_config import ServerConfig
from lorax_batch_client.timestamps import datetime_from


class ServerState(enum.Enum):
    """How a server is doing."""

    UNKNOWN = "unknown"
    """A state that this client does not know: the service is newer."""
    UNREACHABLE = "unreachable"
    READY = "ready"
    STARTING = "starting"
    SUSPECT = "suspect"
    DRAINING = "draining"
    DRAINED = "drained"

    @classmethod
    def from_proto(cls, number: int) -> "ServerState":
        """Return the state with that number in the contract."""
        try:
            name = fleet_pb2.ServerState.Name(fleet_pb2.ServerState.ValueType(number))
            return cls[name.removeprefix("SERVER_STATE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place where one LoRAX server can run."""

    slot_id: str
    kind: str
    url: str
    declared_model: str
    """Empty: what the server reports."""
    server_id: str
    """The first of `server_ids`; empty: there is none."""
    reason: str
    """Why it runs what it runs, or why nothing."""
    gpu_kind: str
    memory_bytes: int
    """GPU memory that its servers share; 0: unknown."""
    node: str
    drained: bool
    """Taken out of service by an operator."""
    drain_reason: str
    server_ids: tuple[str, ...]
    update_time: datetime | None
    starts: int = 0
    """How many servers were started on it since its scheduler began."""

    @classmethod
    def from_proto(cls, message: fleet_pb2.Slot) -> "Slot":
        """Return the slot of a message."""
        return cls(
            slot_id=message.slot_id,
            kind=message.kind,
            url=message.url,
            declared_model=message.declared_model,
            server_id=message.server_id,
            reason=message.reason,
            gpu_kind=message.gpu_kind,
            memory_bytes=message.memory_bytes,
            node=message.node,
            drained=message.drained,
            drain_reason=message.drain_reason,
            server_ids=tuple(message.server_ids),
            starts=message.starts,
            update_time=datetime_from(message.update_time),
        )


def slot_id_of(slot: Slot | str) -> str:
    """Return the id of a slot that is given by value or by id."""
    return slot if isinstance(slot, str) else slot.slot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The jobs of one base model that wait for rows to be run, or run."""

    base_model_id: str
    jobs_queued: int
    jobs_running: int
    rows_left: int
    tokens_left: int
    """Estimate."""

    @classmethod
    def from_proto(cls, message: fleet_pb2.Queue) -> "Queue":
        """Return the queue of a message."""
        return cls(
            base_model_id=message.base_model_id,
            jobs_queued=message.jobs_queued,
            jobs_running=message.jobs_running,
            rows_left=message.rows_left,
            tokens_left=message.tokens_left,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no job of the base model waits or runs any more."""
        return not self.jobs_queued and not self.jobs_running


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running LoRAX server; a limit of 0 is one that it does not report."""

    server_id: str
    slot_id: str
    url: str
    state: ServerState
    reason: str
    model_id: str
    base_model_id: str
    max_concurrent_requests: int
    max_total_tokens: int
    max_input_length: int
    max_batch_total_tokens: int
    in_flight: int
    in_flight_limit: int
    rows_per_second: float
    tokens_per_second: float
    warm_adapters: tuple[str, ...]
    row_latency: timedelta | None
    ready_time: datetime | None
    update_time: datetime | None
    version: str
    adapter_loads: int = 0
    """How often an adapter was loaded on it for a first row, as far as the service knows."""
    server_config: ServerConfig | None = None
    """What it was started with; None for one that the service did not start."""
    launch_arguments: tuple[str, ...] = ()
    """All of its launcher's, without the model and the address; none for one that the service did not start."""

    @classmethod
    def from_proto(cls, message: fleet_pb2.Server) -> "Server":
        """Return the server of a message."""
        return cls(
            server_id=message.server_id,
            slot_id=message.slot_id,
            url=message.url,
            state=ServerState.from_proto(message.state),
            reason=message.reason,
            model_id=message.model_id,
            base_model_id=message.base_model_id,
            max_concurrent_requests=message.max_concurrent_requests,
            max_total_tokens=message.max_total_tokens,
            max_input_length=message.max_input_length,
            max_batch_total_tokens=message.max_batch_total_tokens,
            in_flight=message.in_flight,
            in_flight_limit=message.in_flight_limit,
            rows_per_second=message.rows_per_second,
            tokens_per_second=message.tokens_per_second,
            warm_adapters=tuple(message.warm_adapters),
            row_latency=message.row_latency.ToTimedelta() if message.HasField("row_latency") else None,
            ready_time=datetime_from(message.ready_time),
            update_time=datetime_from(message.update_time),
            version=message.version,
            adapter_loads=message.adapter_loads,
            server_config=(
                ServerConfig.from_proto(message.server_config) if message.HasField("server_config") else None
            ),
            launch_arguments=tuple(message.launch_arguments),
        )
