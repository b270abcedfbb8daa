"""Slots and servers as messages of the contract."""

from datetime import timedelta
from typing import Final

from lorax_batch.v1 import fleet_pb2
from lorax_batch_scheduler.fleet import ServerState, ServerStatus

from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.translate_job import server_config_message

STATE_NUMBERS: Final[dict[ServerState, fleet_pb2.ServerState.ValueType]] = {
    state: fleet_pb2.ServerState.Value(f"SERVER_STATE_{state.value}") for state in ServerState
}


def slot_message(server: ServerStatus) -> fleet_pb2.Slot:
    """Return the message for the slot of a server: one that is unreachable is not there."""
    slot, answers = server.slot, server.state is not ServerState.UNREACHABLE
    return fleet_pb2.Slot(
        slot_id=slot.slot_id,
        kind=slot.kind,
        url=slot.url,
        declared_model=slot.declared_model or "",
        server_id=server.server_id if answers else "",
        reason=server.reason,
    )


def server_message(server: ServerStatus) -> fleet_pb2.Server:
    """Return the message for a server; what it has not told is 0 or empty."""
    message = fleet_pb2.Server(
        server_id=server.server_id,
        slot_id=server.slot.slot_id,
        url=server.url,
        state=STATE_NUMBERS[server.state],
        reason=server.reason,
        base_model_id=server.base_model_id or "",
        in_flight=server.in_flight,
        in_flight_limit=server.in_flight_limit,
        rows_per_second=server.rows_per_second,
        tokens_per_second=server.tokens_per_second,
        warm_adapters=server.warm_adapters,
        ready_time=timestamp(server.ready_time),
        update_time=timestamp(server.update_time),
        server_config=server_config_message(server.config) if server.config is not None else None,
        launch_arguments=server.launch_arguments,
    )
    if server.row_latency_s is not None:
        message.row_latency.FromTimedelta(timedelta(seconds=server.row_latency_s))
    limits = server.limits
    if limits is not None:
        message.model_id = limits.model_id
        message.version = limits.version
        message.max_concurrent_requests = limits.max_concurrent_requests
        message.max_total_tokens = limits.max_total_tokens or 0
        message.max_input_length = limits.max_input_length or 0
        message.max_batch_total_tokens = limits.max_batch_total_tokens or 0
    return message
