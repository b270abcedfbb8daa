"""What a stream that survives broken connections must know; decides without I/O, for both flavours of gRPC."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from lorax_batch_client.errors import ClientError

RequestT = TypeVar("RequestT", covariant=True)
MessageT = TypeVar("MessageT", contravariant=True)
ItemT = TypeVar("ItemT", covariant=True)


class Cursor(Protocol[RequestT, MessageT, ItemT]):
    """The place in one stream: what to ask for next, and what a message means."""

    @property
    def is_complete(self) -> bool:
        """Whether a stream that ended without error ended because there is no more."""
        ...

    def request(self) -> RequestT:
        """Return the request that goes on behind everything taken so far."""
        ...

    def take(self, message: MessageT) -> Iterable[ItemT]:
        """Note a message and return what it holds for the reader."""
        ...

    def recover(self, error: ClientError) -> bool:
        """Return whether the next request avoids that error."""
        ...
