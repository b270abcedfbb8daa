"""One service with TLS on every side: callers, PostgreSQL, S3 and a LoRAX server, each asking for certificates."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lorax_batch_client import AsyncClient, JobState, Tls
from lorax_batch_client.errors import FailedPreconditionError, UnavailableError
from lorax_batch_scheduler.sealing.key_ring import new_key

from tests.certificates import Authority, Issued, write_anew
from tests.end_to_end.job_story import MODEL
from tests.end_to_end.rows import make_rows
from tests.integration.tls.postgres_door import door_before
from tests.planted_secret import processes_with
from tests.processes import Simulator
from tests.tls_proxy import tls_before

pytestmark = pytest.mark.timeout(90)
KEY = "LORAX_BATCH_SECRETS_KEY"


@asynccontextmanager
async def serving(*arguments: object, key: str = "") -> AsyncIterator[str]:
    """Yield the target of a service with these arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lorax_batch_server", "serve", "--listen", "localhost:0"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **({KEY: key} if key else {})},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = await process.stdout.readline()
        assert said.startswith(b"listening on "), said
        yield said.decode().split()[-1]
    finally:
        process.terminate()
        assert await process.wait() == 0


async def run_job(target: str, tls: Tls, hf_token: str = "") -> JobState:
    """Run a small dataset."""
    async with AsyncClient(target, tls=tls) as client:
        dataset = await client.wait_for_dataset(await client.upload_dataset(make_rows("tls", 30)))
        job = await client.create_job(dataset, base_model=MODEL, hf_token=hf_token)
        return (await client.wait(job)).state


async def test_a_job_runs_with_tls_on_every_side_and_new_certificates_count_without_a_restart(
    tmp_path: Path, database: str, moto_store_url: str, moto_url: str
) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "another authority")
    mine, shown, key = authority.issue("mine"), authority.issue("shown"), str(new_key())
    with Simulator("--time-scale", "0.02") as simulator:
        async with (
            door_before(database, authority.issue("postgres"), client_ca=authority.file) as door,
            tls_before(moto_url, authority.issue("s3"), client_ca=authority.file) as s3,
            tls_before(simulator.url, authority.issue("lorax"), client_ca=authority.file) as lorax,
        ):
            settings = tmp_path / "settings.toml"
            settings.write_text(settings_of(authority, mine))
            arguments = ("--config", settings, "--data-dir", tmp_path / "data", "--database-url", door.dsn())
            stores = ("--object-store", moto_store_url.replace(moto_url, s3), "--server", lorax)
            own = ("--tls-cert", shown.cert, "--tls-key", shown.key, "--tls-client-ca", authority.file)
            tls = Tls(ca=authority.file, cert=mine.cert, key=mine.key)
            async with serving(*arguments, *stores, *own, key=key) as target:
                assert await run_job(target, tls, hf_token="hf_over_tls") is JobState.SUCCEEDED
                assert len(processes_with([key.encode()], "environ")) == 1, "no child of the service has its key"
                for wrong in (Tls(ca=authority.file), Tls(ca=other.file, cert=mine.cert, key=mine.key)):
                    with pytest.raises(UnavailableError):
                        await run_job(target, wrong)
                renewed = other.issue("renewed")
                write_anew(shown.cert, renewed.cert.read_bytes())
                write_anew(shown.key, renewed.key.read_bytes())
                changed = Tls(ca=other.file, cert=mine.cert, key=mine.key)
                assert await run_job(target, changed) is JobState.SUCCEEDED
                assert await exit_code_of("health", "--target", target, tls=changed) == 0
                assert await exit_code_of("health", "--target", target, tls=tls) == 3


async def test_a_shared_database_without_a_key_takes_no_tokens(
    tmp_path: Path, database: str, postgres_directory: Path
) -> None:
    arguments = ("--data-dir", tmp_path / "data", "--database-url", database)
    async with serving(*arguments) as target, AsyncClient(target) as client:
        dataset = await client.wait_for_dataset(await client.upload_dataset(make_rows("plain", 1)))
        with pytest.raises(FailedPreconditionError, match="set secrets_key_file") as refused:
            await client.create_job(dataset, base_model=MODEL, hf_token="hf_without_a_key")
        assert refused.value.reason == "NO_SECRETS_KEY"
        await client.create_job(dataset, base_model=MODEL)
        assert not (tmp_path / "data/secrets.key").exists()


def settings_of(authority: Authority, own: Issued) -> str:
    """Return the settings of a service that shows the same certificate everywhere."""
    files = {"ca": authority.file, "cert": own.cert, "key": own.key}
    sides = ("database", "object_store", "server")
    return "\n".join(f'{side}_{name} = "{path}"' for side in sides for name, path in files.items())


async def exit_code_of(*arguments: str, tls: Tls) -> int:
    """Return how a command of the command line ended."""
    files = ("--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "lorax_batch_server", *arguments, *files)
    return await process.wait()
