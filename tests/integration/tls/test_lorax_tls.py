"""LoRAX servers behind TLS: an authority of one's own, client certificates, and new ones without a restart."""

import asyncio

import pytest
from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.lorax_servers import Health, ServerProbe
from lorax_batch_scheduler.tls.client_tls import ClientTls

from tests.certificates import Authority, write_anew
from tests.integration.lorax_servers.running import running
from tests.integration.tls.conftest import tls_of
from tests.rows import make_work
from tests.simulator.conftest import simulated
from tests.tls_proxy import tls_before


async def trouble_of(url: str, tls: ClientTls | None) -> str:
    """Return why a server can't be asked."""
    with pytest.raises(ServerUnreachableError) as caught:
        await ServerProbe(url, tls=tls).read_limits()
    return caught.value.detail


async def test_rows_run_over_tls_and_with_a_client_certificate(authority: Authority) -> None:
    mine = authority.issue("mine")
    async with (
        simulated() as simulator,
        tls_before(simulator.app.url, authority.issue(), client_ca=authority.file) as url,
        running(url, make_work(50), tls=tls_of("server", ca=authority.file, own=mine)) as run,
    ):
        await run.results(50)
        assert run.sink.errors == {}


async def test_a_server_that_does_not_fit_is_told_with_the_setting(authority: Authority, other: Authority) -> None:
    async with simulated() as simulator:
        async with tls_before(simulator.app.url, authority.issue()) as url:
            for tls in (None, tls_of("server", ca=other.file)):
                assert "set server_ca to" in await trouble_of(url, tls)
                assert await ServerProbe(url, tls=tls).health() is Health.SILENT
        trusted = tls_of("server", ca=authority.file)
        async with tls_before(simulator.app.url, authority.issue(hosts=["elsewhere.example"])) as url:
            assert "for another name" in await trouble_of(url, trusted)
        for days in ((-9, -1), (1, 9)):
            async with tls_before(simulator.app.url, authority.issue(days=days)) as url:
                assert "set the clocks right" in await trouble_of(url, trusted)
        async with tls_before(simulator.app.url, authority.issue(), client_ca=authority.file) as url:
            for tls in (trusted, tls_of("server", ca=authority.file, own=other.issue("stranger"))):
                assert "set server_cert and server_key" in await trouble_of(url, tls)
        plain = simulator.app.url.replace("http:", "https:")
        assert "does not speak TLS" in await trouble_of(plain, trusted)


async def test_a_runner_says_why_it_has_no_connection(authority: Authority) -> None:
    async with simulated() as simulator:
        limits = await ServerProbe(simulator.app.url).read_limits()
        async with (
            tls_before(simulator.app.url, authority.issue()) as url,
            running(url, make_work(1), limits=limits) as run,
        ):
            async with asyncio.timeout(10):
                while "set server_ca to" not in run.runner.status().reason:  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0.01)


async def test_a_new_authority_counts_from_the_next_connection_on(authority: Authority, other: Authority) -> None:
    trusted = authority.file.with_name("trusted.pem")
    write_anew(trusted, other.file.read_bytes())
    tls = tls_of("server", ca=trusted)
    async with simulated() as simulator, tls_before(simulator.app.url, authority.issue()) as url:
        await trouble_of(url, tls)
        write_anew(trusted, authority.file.read_bytes())
        assert (await ServerProbe(url, tls=tls).read_limits()).model_id
        write_anew(trusted, b"")
        assert (await ServerProbe(url, tls=tls).read_limits()).model_id, "what can't be used changes nothing"
