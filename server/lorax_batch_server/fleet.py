"""The Fleet service: what runs where, and what operators take out of service."""

import base64
import binascii
import difflib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import grpc
import structlog
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch.v1 import fleet_pb2_grpc
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import InvalidInputError, NotFoundError
from lorax_batch_scheduler.ports import FleetStore

from lorax_batch_server.checks import Checks, known_id
from lorax_batch_server.fleet_watch import FleetHeartbeat, FleetHub
from lorax_batch_server.job_requests import check_reason
from lorax_batch_server.shared_messages import SharedMessages
from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.translate_fleet import server_message, slot_message, watch_response

DEFAULT_PAGE_SIZE: Final = 200
SHOWN_IDS: Final = 3
"""Slots that an error names."""
WATCHED_MESSAGES: Final = 2_000
"""Kept for watchers: what has not changed is told to the next one as it was made."""
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


class FleetService(fleet_pb2_grpc.FleetServicer):
    """See the contract: slots and servers of all living schedulers, whichever process is asked."""

    def __init__(self, fleet: FleetStore, hub: FleetHub, clock: Clock) -> None:
        self._fleet = fleet
        self._hub = hub
        self._clock = clock
        self._watched = SharedMessages(kept=WATCHED_MESSAGES)

    async def ListSlots(self, request: pb.ListSlotsRequest, context: _Context) -> pb.ListSlotsResponse:
        slots, token = page_of(
            await self._fleet.slots(),
            lambda status: status.slot.slot_id,
            "slots",
            request.page_size,
            request.page_token,
        )
        return pb.ListSlotsResponse(slots=[slot_message(status) for status in slots], next_page_token=token)

    async def ListServers(self, request: pb.ListServersRequest, context: _Context) -> pb.ListServersResponse:
        servers, token = page_of(
            await self._fleet.servers(),
            lambda server: server.server_id,
            "servers",
            request.page_size,
            request.page_token,
        )
        return pb.ListServersResponse(servers=[server_message(server) for server in servers], next_page_token=token)

    async def DrainSlot(self, request: pb.DrainSlotRequest, context: _Context) -> pb.DrainSlotResponse:
        reason = check_reason(request.reason)
        async with self._known_slot(request.slot_id) as slot_id:
            status = await self._fleet.drain_slot(slot_id, reason)
        _log.info("slot_drained", slot=slot_id, reason=reason)
        return pb.DrainSlotResponse(slot=slot_message(status))

    async def UndrainSlot(self, request: pb.UndrainSlotRequest, context: _Context) -> pb.UndrainSlotResponse:
        async with self._known_slot(request.slot_id) as slot_id:
            status = await self._fleet.undrain_slot(slot_id)
        _log.info("slot_undrained", slot=slot_id)
        return pb.UndrainSlotResponse(slot=slot_message(status))

    async def WatchFleet(
        self, request: pb.WatchFleetRequest, context: _Context
    ) -> AsyncIterator[pb.WatchFleetResponse]:
        # Closed here: a caller who goes away is no longer told anything.
        async with aclosing(self._hub.watch()) as watch:
            async for happening in watch:
                if isinstance(happening, FleetHeartbeat):
                    yield pb.WatchFleetResponse(heartbeat=timestamp(self._clock.now()))
                else:
                    yield self._watched.of(happening, watch_response)

    @asynccontextmanager
    async def _known_slot(self, given: str) -> AsyncIterator[str]:
        """Yield the id; where there is no such slot, say which there are."""
        try:
            yield known_id("slot", "slot_id", given)
        except NotFoundError as error:
            slots = await self._fleet.slots()
            raise NotFoundError("slot", error.name, near_ids(error.name, [one.slot.slot_id for one in slots])) from None


def near_ids(wanted: str, ids: Sequence[str]) -> str:
    """Return which of the ids may have been meant, for an error's end."""
    if not ids:
        return "no scheduler has any slot"
    near = difflib.get_close_matches(wanted, ids, SHOWN_IDS, cutoff=0.5)
    if near:
        return f"was {' or '.join(near)} meant?"
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return f"there are {', '.join(sorted(ids)[:SHOWN_IDS])}{more}"


def page_of(
    items: Sequence[_T], key: Callable[[_T], str], kind: str, page_size: int, page_token: str
) -> tuple[list[_T], str]:
    """Return a page of a list that is in memory, by key, and the token of the next one.

    Raises:
        InvalidRequestError: the size is out of range.
        InvalidInputError: the token is not one of this list.
    """
    checks = Checks()
    size = checks.page(page_size, page_token, default=DEFAULT_PAGE_SIZE)
    checks.done()
    after = _decode_token(kind, page_token) if page_token else None
    rest = sorted((item for item in items if after is None or key(item) > after), key=key)
    page = rest[:size]
    return page, _encode_token(kind, key(page[-1])) if len(rest) > size else ""


def _encode_token(kind: str, last: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}\n{last}".encode()).decode().rstrip("=")


def _decode_token(kind: str, token: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = ""
    found, separator, last = text.partition("\n")
    if found != kind or not separator:
        raise InvalidInputError(
            "page_token", f"is not a token of a list of {kind}: pass on `next_page_token` of the answer before"
        )
    return last
