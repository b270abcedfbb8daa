"""Finds out when a store is opened whether it can be used at all, and says what to change when not."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.object_names import CHECKS_PREFIX
from lorax_batch_scheduler.objects.s3_errors import code_of, s3_errors, status_of
from lorax_batch_scheduler.objects.s3_location import S3Location

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_REGION_CODES = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


async def check_bucket(client: "S3Client", location: S3Location, check_id: str) -> None:
    """Ask for the bucket, then write and delete a small object in it.

    Raises:
        ConfigurationError: the answer will be no until somebody changes something.
        ObjectStoreError: the store can't be reached, or is in trouble.
    """
    name = f"{location.prefix}{CHECKS_PREFIX}{check_id}"
    with s3_errors(str(location)):
        try:
            doing = "be reached"
            await client.head_bucket(Bucket=location.bucket)
            doing = "be written"
            await client.put_object(Bucket=location.bucket, Key=name, Body=b"")
            doing = "be deleted from"
            await client.delete_object(Bucket=location.bucket, Key=name)
        except ClientError as error:
            if (reason := _refusal(error, location, doing)) is not None:
                raise ConfigurationError(f"{location}: {reason}") from error
            raise
        except RecursionError as error:
            # botocore asks anew, for ever, where a redirection does not say which region it leads to.
            raise ConfigurationError(
                f"{location}: endpoint={location.endpoint} redirects to somewhere else: give the URL that it leads to "
                "(https:// instead of http://?), or the bucket's own region=NAME"
            ) from error


async def find_bucket(client: "S3Client", location: S3Location, *, settings: str) -> bool:
    """Ask for a bucket; return whether we may know that it is there. `settings`: see `s3_errors`.

    Raises:
        ConfigurationError: the answer will be no until somebody changes something.
        ObjectStoreError: the store can't be reached, or is in trouble.
    """
    with s3_errors(str(location), settings=settings):
        try:
            await client.head_bucket(Bucket=location.bucket)
        except ClientError as error:
            if status_of(error) == 403:
                return False
            if (reason := _refusal(error, location, "be reached")) is not None:
                raise ConfigurationError(f"{location}: {reason}") from error
            raise
    return True


def _refusal(error: ClientError, location: S3Location, doing: str) -> str | None:
    status, code = status_of(error), code_of(error)
    if status == 301 or code in _REGION_CODES:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        there = headers.get("x-amz-bucket-region", "")
        hint = f"it is in {there}: give region={there}" if there else "give its own as region=NAME"
        return f"bucket '{location.bucket}' is not in region {location.region or 'of the environment'}; {hint}"
    if status == 404:
        return (
            f"there is no bucket '{location.bucket}': create it, or correct the name, or endpoint=URL when it is "
            "another store's"
        )
    if status in (401, 403):
        return (
            f"the store refuses these credentials ({status} {code}), so that the bucket can't {doing}: check "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the role, and allow it s3:ListBucket, "
            "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads"
        )
    if status in (405, 501):
        return f"what answers at endpoint={location.endpoint} is no S3 ({status} {code})"
    return None
