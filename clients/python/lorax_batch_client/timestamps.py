"""Between protobuf's timestamps and aware datetimes in UTC."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp


def datetime_from(message: Timestamp) -> datetime | None:
    """Return the time, or None when the field is not set."""
    if message.seconds == 0 and message.nanos == 0:
        return None
    return message.ToDatetime(tzinfo=UTC)


def timestamp_from(moment: datetime | timedelta) -> Timestamp:
    """Return an aware datetime, or a time from now, as it travels.

    Raises:
        TypeError: it is neither.
        ValueError: it has no time zone, or is beyond what a datetime can be.
    """
    if not isinstance(moment, datetime | timedelta):
        raise TypeError(f"{moment!r} is no point in time: give an aware datetime, or a timedelta from now")
    try:
        time = datetime.now(UTC) + moment if isinstance(moment, timedelta) else moment
        if time.tzinfo is None:
            raise ValueError(f"{time.isoformat()} has no time zone: use an aware datetime or a timedelta")
        time = time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment!r} is beyond the years 1 to 9999") from error
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
