"""Between protobuf's timestamps and aware datetimes in UTC."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp


def datetime_from(message: Timestamp) -> datetime | None:
    """Return the time, or None when the field is not set."""
    if message.seconds == 0 and message.nanos == 0:
        return None
    return message.ToDatetime(tzinfo=UTC)


def timestamp_from(moment: datetime | timedelta) -> Timestamp:
    """Return an aware datetime, or a time from now, as it travels."""
    if isinstance(moment, timedelta):
        moment = datetime.now(UTC) + moment
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: use an aware datetime or a timedelta")
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp
