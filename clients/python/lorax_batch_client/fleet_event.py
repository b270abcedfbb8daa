"""What a watch tells about the fleet."""

from dataclasses import dataclass, replace

from lorax_batch.v1 import fleet_pb2

from lorax_batch_client.fleet import Queue, Server, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """Everything as it is when the watch begins, or begins anew after an interruption."""

    slots: tuple[Slot, ...] = ()
    servers: tuple[Server, ...] = ()
    queues: tuple[Queue, ...] = ()

    def after(self, event: "FleetEvent") -> "FleetSnapshot":
        """Return how the fleet is after an event."""
        match event:
            case FleetSnapshot():
                return event
            case SlotChanged(slot=slot):
                others = {one.slot_id: one for one in self.slots}
                return replace(self, slots=tuple((others | {slot.slot_id: slot}).values()))
            case ServerChanged(server=server):
                known = {one.server_id: one for one in self.servers}
                return replace(self, servers=tuple((known | {server.server_id: server}).values()))
            case QueueChanged(queue=queue):
                queues = {one.base_model_id: one for one in self.queues} | {queue.base_model_id: queue}
                return replace(self, queues=tuple(one for one in queues.values() if not one.is_empty))
            case SlotRemoved(slot_id=slot_id):
                return replace(self, slots=tuple(one for one in self.slots if one.slot_id != slot_id))
            case ServerRemoved(server_id=server_id):
                return replace(self, servers=tuple(one for one in self.servers if one.server_id != server_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotChanged:
    """A slot is new, or has changed."""

    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRemoved:
    """A slot is there no more."""

    slot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChanged:
    """A server is new, or has changed."""

    server: Server


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRemoved:
    """A server is there no more."""

    server_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueChanged:
    """What waits for a base model is new, or has changed; `is_empty` when nothing does any more."""

    queue: Queue


FleetChange = SlotChanged | SlotRemoved | ServerChanged | ServerRemoved | QueueChanged
FleetEvent = FleetSnapshot | FleetChange


def change_from_proto(message: fleet_pb2.WatchFleetResponse) -> FleetChange | None:
    """Return the change of a message; None for a heartbeat or a kind that this client does not know."""
    match message.WhichOneof("event"):
        case "server":
            return ServerChanged(server=Server.from_proto(message.server))
        case "slot":
            return SlotChanged(slot=Slot.from_proto(message.slot))
        case "queue":
            return QueueChanged(queue=Queue.from_proto(message.queue))
        case "removed_server_id":
            return ServerRemoved(server_id=message.removed_server_id)
        case "removed_slot_id":
            return SlotRemoved(slot_id=message.removed_slot_id)
    return None
