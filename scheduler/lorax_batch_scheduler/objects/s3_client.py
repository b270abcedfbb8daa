"""Clients of S3-compatible services: timeouts, retries, credentials."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.s3_location import S3Location
from lorax_batch_scheduler.objects.s3_session import session_of
from lorax_batch_scheduler.tls.client_tls import ClientTls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CONNECT_TIMEOUT_S = 5
ATTEMPTS = 4
"""Of each request, the first included: botocore repeats throttled, failed (5xx) and broken ones with growing pauses.
All our requests bear it: reads, deletes, writes of the same bytes to the same place, and `create` knows its own."""
CONNECTIONS = 32
_DEFAULT_REGION = "us-east-1"


def s3_client(
    location: S3Location, *, endpoint: str | None = None, tls: ClientTls | None = None
) -> "AbstractAsyncContextManager[S3Client]":
    """Return a client for a location, to be entered; `endpoint` stands in for the location's own.

    `tls`: the files that https endpoints are reached with; none: the authorities that AWS's own variables name, or
    those of this machine.

    Raises `ConfigurationError` for a profile or a region that there is not.
    """
    config = AioConfig(
        connect_timeout=min(CONNECT_TIMEOUT_S, location.silence_s),
        read_timeout=location.silence_s,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # Links are signed by this too, and the older kind of signature is refused by most stores.
        signature_version="s3v4",
        s3={"addressing_style": "path" if location.path_style else "auto"},
        # Older stores know no checksum trailers; what we store carries checksums of its own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        http_session_cls=session_of(tls) if tls else AIOHTTPSession,  # type: ignore[arg-type]  # anything that makes one
    )
    try:
        session = AioSession(profile=location.profile)
        region = location.region or session.get_config_variable("region") or _DEFAULT_REGION
        return session.create_client(
            "s3", endpoint_url=endpoint or location.endpoint, region_name=region, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"{location}: {error}") from error
