"""Which object store a URL opens."""

import subprocess
import sys
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError
from lorax_batch_scheduler.objects.urls import open_object_store


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("/var/lib/x", "<DirectoryObjectStore /var/lib/x>"),
        ("data", f"<DirectoryObjectStore {Path.cwd()}/data>"),
        ("file:///var/lib/a%20b", "<DirectoryObjectStore /var/lib/a b>"),
        ("file://localhost/x", "<DirectoryObjectStore /x>"),
        ("s3://bucket", "<S3ObjectStore s3://bucket/>"),
        ("s3://bucket/a/b?region=eu-west-1", "<S3ObjectStore s3://bucket/a/b/>"),
        ("s3://b/a/?endpoint=http://127.0.0.1:9000", "<S3ObjectStore s3://b/a/ at http://127.0.0.1:9000>"),
    ],
)
def test_supported_urls(url: str, opened: str) -> None:
    assert repr(open_object_store(url)) == opened


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is empty"),
        ("gs://bucket/x", "'gs' is not supported; it must be a directory, file:///directory or s3://"),
        ("file://host/x", "with three slashes"),
        ("file:///x?y=1", "no query"),
        ("s3://", "is not a bucket"),
        ("s3://key:secret@bucket/x", "never from the URL"),
        ("s3://bucket/x?regin=eu", "'regin' is not an option"),
        ("s3://bucket/x?endpoint=localhost:9000", "must begin with http:// or https://"),
        ("s3://bucket/x?path_style=yes", "path_style is 'yes', but must be true or false"),
    ],
)
def test_other_urls_are_refused_with_the_way_out(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_object_store(url)
    assert "secret" not in str(caught.value)


def test_a_prefix_must_be_a_key() -> None:
    with pytest.raises(InvalidInputError, match="no key can begin with"):
        open_object_store("s3://bucket/../x")


def test_a_directory_store_does_not_wait_for_the_s3_library() -> None:
    code = "import sys; from lorax_batch_scheduler.objects.urls import open_object_store as o; o('/x')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'aiobotocore' not in sys.modules"], check=True)
