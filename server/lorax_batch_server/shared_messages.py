"""Messages that many callers are sent at the same time, made once."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

KEPT: Final = 256
"""Values that callers may be told about at the same time; what is no longer here is made again."""

ValueT = TypeVar("ValueT")
MessageT = TypeVar("MessageT", bound=Message)


class SharedMessages:
    """The messages of the last values; a value is known by its identity, and must never change.

    To make the message of a job takes about 40 us, to serialise it 1 us.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        # The value too: so its id can't become that of another one.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: ValueT, make: Callable[[ValueT], MessageT]) -> MessageT:
        """Return the message of a value; always ask for the same kind of message of a value."""
        found = self._made.get(id(value))
        if found is not None:
            message: MessageT = found[1]
            return message
        message = make(value)
        if len(self._made) >= self._kept:
            del self._made[next(iter(self._made))]
        self._made[id(value)] = value, message
        return message
