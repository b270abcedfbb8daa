"""Calls about slots and servers."""

from collections.abc import AsyncIterator

from lorax_batch.v1 import fleet_pb2, fleet_pb2_grpc

from lorax_batch_client.aio.connection import Connection
from lorax_batch_client.fleet import Server, Slot


class FleetCalls(Connection):
    """Where LoRAX servers run, and how they do."""

    @property
    def _fleet(self) -> "fleet_pb2_grpc.FleetAsyncStub":
        return fleet_pb2_grpc.FleetStub(self._channel)

    async def list_slots(self, *, page_size: int = 0) -> AsyncIterator[Slot]:
        """Yield all slots."""
        request = fleet_pb2.ListSlotsRequest(page_size=page_size)
        while True:
            page = await self._call(lambda: self._fleet.ListSlots, request)
            for message in page.slots:
                yield Slot.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_servers(self, *, page_size: int = 0) -> AsyncIterator[Server]:
        """Yield all servers."""
        request = fleet_pb2.ListServersRequest(page_size=page_size)
        while True:
            page = await self._call(lambda: self._fleet.ListServers, request)
            for message in page.servers:
                yield Server.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
