"""The Fleet service: what runs where."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import grpc
from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch.v1 import fleet_pb2_grpc
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.fleet import ServerStatus

from lorax_batch_server.checks import Checks
from lorax_batch_server.translate_fleet import server_message, slot_message

DEFAULT_PAGE_SIZE: Final = 200
_T = TypeVar("_T")
_Context = grpc.aio.ServicerContext[Any, Any]


class FleetView(Protocol):
    """What all living schedulers show of their servers, whichever process is asked."""

    async def servers(self) -> Sequence[ServerStatus]: ...


class FleetService(fleet_pb2_grpc.FleetServicer):
    """Lists slots and servers by their ids."""

    def __init__(self, fleet: FleetView) -> None:
        self._fleet = fleet

    async def ListSlots(self, request: pb.ListSlotsRequest, context: _Context) -> pb.ListSlotsResponse:
        servers, token = page_of(
            await self._fleet.servers(),
            lambda server: server.slot.slot_id,
            "slots",
            request.page_size,
            request.page_token,
        )
        return pb.ListSlotsResponse(slots=[slot_message(server) for server in servers], next_page_token=token)

    async def ListServers(self, request: pb.ListServersRequest, context: _Context) -> pb.ListServersResponse:
        servers, token = page_of(
            await self._fleet.servers(),
            lambda server: server.server_id,
            "servers",
            request.page_size,
            request.page_token,
        )
        return pb.ListServersResponse(servers=[server_message(server) for server in servers], next_page_token=token)


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
