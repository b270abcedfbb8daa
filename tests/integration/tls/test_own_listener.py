"""`lorax-batch health --own`: the probe of a container asks the listener beside it, whatever its certificate."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.cli.own_listener import own_listener
from lorax_batch_server.settings import Settings, load_settings

from tests.certificates import Authority, Issued
from tests.integration.tls.listener import listening

NAMES = ("batch.jobs.svc", "*.batch.jobs.svc")


async def probe(settings: Settings) -> tuple[int, str, str]:
    """Return what the command says with the variables of a service."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lorax_batch_server", "health", "--own"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {f"LORAX_BATCH_{name.upper()}": str(value) for name, value in given.items()},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def settings_of(port: int, issued: Issued | None, client_ca: Path | None = None) -> Settings:
    return load_settings(
        listen=f"0.0.0.0:{port}",
        tls_cert=issued and issued.cert,
        tls_key=issued and issued.key,
        tls_client_ca=client_ca,
    )


@pytest.mark.parametrize("kind", ["plain", "TLS", "client certificates"])
async def test_a_listener_is_asked_whatever_it_shows_and_asks_for(kind: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue(hosts=NAMES) if kind != "plain" else None
    client_ca = authority.file if kind == "client certificates" else None
    certificates = settings_of(1, issued, client_ca).listener_certificates()
    async with listening(certificates) as port:
        said = await probe(settings_of(port, issued, client_ca))
    assert said == (0, f"localhost:{port} is serving\n", "")


async def test_the_certificate_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    shown, ours = Authority(tmp_path, "one").issue("shown"), Authority(tmp_path, "two").issue("ours")
    async with listening(settings_of(1, shown).listener_certificates()) as port:
        code, out, err = await probe(settings_of(port, ours))
    assert (code, out) == (3, "")
    assert "certificate" in err.lower()


def test_a_free_port_can_not_be_guessed() -> None:
    with pytest.raises(ConfigurationError, match="give --target instead of --own"):
        own_listener(load_settings(listen="localhost:0"), None)
