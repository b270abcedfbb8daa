"""Points in time as messages."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return the message, None for None."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def aware(message: Timestamp) -> datetime:
    """Return the time in UTC. Raises `ValueError` or `OverflowError` when it is out of range."""
    return message.ToDatetime(tzinfo=UTC)
