"""An authority that the tests trust, and one that they do not."""

from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_server.settings import load_settings

from tests.certificates import Authority, Issued


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "another authority")


def tls_of(prefix: str, *, ca: Path | None = None, own: Issued | None = None) -> ClientTls:
    """Return what a service with these settings reaches servers with."""
    given: dict[str, Any] = {"ca": ca, "cert": own and own.cert, "key": own and own.key}
    return load_settings(**{f"{prefix}_{name}": path for name, path in given.items()}).client_tls(prefix)
