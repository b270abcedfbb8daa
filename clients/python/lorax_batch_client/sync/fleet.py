"""Calls about slots and servers."""

from collections.abc import Iterator

from lorax_batch.v1 import fleet_pb2, fleet_pb2_grpc

from lorax_batch_client.fleet import Server, Slot, slot_id_of
from lorax_batch_client.fleet_cursor import FleetCursor
from lorax_batch_client.fleet_event import FleetEvent
from lorax_batch_client.sync.connection import Connection


class FleetCalls(Connection):
    """Where LoRAX servers run, and how they do."""

    @property
    def _fleet(self) -> fleet_pb2_grpc.FleetStub:
        return fleet_pb2_grpc.FleetStub(self._channel)

    def list_slots(self, *, page_size: int = 0) -> Iterator[Slot]:
        """Yield all slots."""
        request = fleet_pb2.ListSlotsRequest(page_size=page_size)
        while True:
            page = self._call(lambda: self._fleet.ListSlots, request)
            for message in page.slots:
                yield Slot.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_servers(self, *, page_size: int = 0) -> Iterator[Server]:
        """Yield all servers."""
        request = fleet_pb2.ListServersRequest(page_size=page_size)
        while True:
            page = self._call(lambda: self._fleet.ListServers, request)
            for message in page.servers:
                yield Server.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def drain_slot(self, slot: Slot | str, *, reason: str = "") -> Slot:
        """Take a slot out of service: rows in flight there end, no other rows are sent."""
        request = fleet_pb2.DrainSlotRequest(slot_id=slot_id_of(slot), reason=reason)
        return Slot.from_proto((self._call(lambda: self._fleet.DrainSlot, request)).slot)

    def undrain_slot(self, slot: Slot | str) -> Slot:
        """Put a slot back into service."""
        request = fleet_pb2.UndrainSlotRequest(slot_id=slot_id_of(slot))
        return Slot.from_proto((self._call(lambda: self._fleet.UndrainSlot, request)).slot)

    def watch_fleet(self) -> Iterator[FleetEvent]:
        """Yield how the fleet is, and then what changes, without end.

        `snapshot.after(event)` is the fleet after an event. Broken connections are made good: the watch then begins
        anew with a snapshot. Who reads slowly is told only the newest.
        """
        return self._read(lambda: self._fleet.WatchFleet, FleetCursor())
