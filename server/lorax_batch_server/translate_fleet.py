"""Slots, servers and queues as messages of the contract."""

from datetime import timedelta
from typing import Final

from lorax_batch.v1 import fleet_pb2
from lorax_batch_scheduler.fleet import QueueStatus, ServerState, ServerStatus, SlotStatus

from lorax_batch_server.fleet_changes import FleetChange, ServerRemoved, SlotRemoved
from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.translate_job import server_config_message

STATE_NUMBERS: Final[dict[ServerState, fleet_pb2.ServerState.ValueType]] = {
    state: fleet_pb2.ServerState.Value(f"SERVER_STATE_{state.value}") for state in ServerState
}


def slot_message(status: SlotStatus) -> fleet_pb2.Slot:
    """Return the message for a slot."""
    slot = status.slot
    return fleet_pb2.Slot(
        slot_id=slot.slot_id,
        kind=slot.kind,
        url=slot.url,
        declared_model=slot.declared_model or "",
        server_id=status.server_ids[0] if status.server_ids else "",
        reason=status.reason,
        gpu_kind=slot.gpu_kind,
        memory_bytes=slot.memory_bytes,
        node=slot.node,
        drained=status.drained,
        drain_reason=status.drain_reason,
        server_ids=status.server_ids,
        starts=status.starts,
        update_time=timestamp(status.update_time),
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
        adapter_loads=server.adapter_loads,
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


def queue_message(status: QueueStatus) -> fleet_pb2.Queue:
    """Return the message for the queue of a base model."""
    return fleet_pb2.Queue(
        base_model_id=status.base_model_id,
        jobs_queued=status.jobs_queued,
        jobs_running=status.jobs_running,
        rows_left=status.rows_left,
        tokens_left=status.tokens_left,
    )


def watch_response(change: FleetChange) -> fleet_pb2.WatchFleetResponse:
    """Return the message that tells a change."""
    match change:
        case ServerStatus():
            return fleet_pb2.WatchFleetResponse(server=server_message(change))
        case SlotStatus():
            return fleet_pb2.WatchFleetResponse(slot=slot_message(change))
        case QueueStatus():
            return fleet_pb2.WatchFleetResponse(queue=queue_message(change))
        case ServerRemoved(server_id=server_id):
            return fleet_pb2.WatchFleetResponse(removed_server_id=server_id)
        case SlotRemoved(slot_id=slot_id):
            return fleet_pb2.WatchFleetResponse(removed_slot_id=slot_id)
