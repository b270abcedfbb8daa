"""The place in a watch of the fleet."""

from collections.abc import Iterable

from lorax_batch.v1.fleet_pb2 import WatchFleetRequest, WatchFleetResponse

from lorax_batch_client.errors import ClientError
from lorax_batch_client.fleet import Queue, Server, Slot
from lorax_batch_client.fleet_event import FleetEvent, FleetSnapshot, change_from_proto


class FleetCursor:
    """Gathers the snapshot with which every connection begins; then passes changes on."""

    def __init__(self) -> None:
        self._snapshot: list[WatchFleetResponse] | None = []
        """None: it was passed on."""

    @property
    def is_complete(self) -> bool:
        # It ends only because the service went away.
        return False

    def request(self) -> WatchFleetRequest:
        self._snapshot = []
        return WatchFleetRequest()

    def take(self, message: WatchFleetResponse) -> Iterable[FleetEvent]:
        if self._snapshot is None:
            change = change_from_proto(message)
            return () if change is None else (change,)
        if message.WhichOneof("event") != "heartbeat":
            self._snapshot.append(message)
            return ()
        shown, self._snapshot = self._snapshot, None
        return (_snapshot_of(shown),)

    def recover(self, error: ClientError) -> bool:
        return False


def _snapshot_of(messages: list[WatchFleetResponse]) -> FleetSnapshot:
    return FleetSnapshot(
        slots=tuple(Slot.from_proto(one.slot) for one in messages if one.HasField("slot")),
        servers=tuple(Server.from_proto(one.server) for one in messages if one.HasField("server")),
        queues=tuple(Queue.from_proto(one.queue) for one in messages if one.HasField("queue")),
    )
