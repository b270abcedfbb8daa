"""Turns botocore's errors into those of the port."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientPayloadError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.tls.trouble import closed_advice, with_advice

CONFLICT = {409, 412}
"""A conditional write lost: AWS says 412 for an object that was there, 409 for one that came meanwhile."""
RANGE_PAST_END = 416
BROKEN_BODY = (HTTPClientError, IncompleteReadError, ClientPayloadError)
"""What reading an answer's body may raise; aiobotocore lets aiohttp's error for a short body through."""
_MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_PASSING_CODES = {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable"}


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def s3_errors(key: str, *, settings: str = "object_store") -> Iterator[None]:
    """Turn what botocore raises into errors that say of which key, and whether trying again makes sense.

    `settings`: the prefix of those that say how TLS is talked.
    """
    try:
        yield
    except ClientError as error:
        status, code = status_of(error), code_of(error)
        if code in _MISSING:
            raise ObjectNotFoundError(key) from error
        retryable = status >= 500 or status == 429 or code in _PASSING_CODES
        raise ObjectStoreError(f"S3 answered {status} {code} for '{key}': {error}", retryable=retryable) from error
    except NoCredentialsError as error:
        raise ObjectStoreError(
            "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role", retryable=False
        ) from error
    except (*BROKEN_BODY, BotoConnectionError) as error:
        text = with_advice(f"S3 can't be reached for '{key}': {error}", error, prefix=settings)
        if isinstance(error, ConnectionClosedError) and "https:" in text:
            text += f" {closed_advice(settings)}"
        raise ObjectStoreError(text, retryable=True) from error
    except BotoCoreError as error:
        raise ObjectStoreError(f"S3 request for '{key}': {error}", retryable=False) from error
