"""An authority that the tests trust, and one that they do not."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_server.settings import load_settings

from tests.certificates import Authority, Issued


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Shake hands on the event loop that the service has."""
    return {"uvloop": uvloop.new_event_loop}


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
