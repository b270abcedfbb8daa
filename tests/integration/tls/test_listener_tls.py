"""The gRPC listener over TLS: who gets in, what the others are told, and new certificates without a restart."""

from pathlib import Path

import pytest
from lorax_batch_client import Tls
from lorax_batch_client.errors import CertificateError
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.pem_file import PemFile
from lorax_batch_server.app import serve
from lorax_batch_server.server_certificates import ServerCertificates
from lorax_batch_server.settings import load_settings

from tests.bad_certificates import BAD_IDENTITIES
from tests.certificates import Authority, Issued, write_anew
from tests.integration.tls.listener import ask, listening


def shown(issued: Issued, client_ca: Path | None = None) -> ServerCertificates:
    """Return what a listener with these settings shows."""
    found = load_settings(tls_cert=issued.cert, tls_key=issued.key, tls_client_ca=client_ca).listener_certificates()
    assert found is not None
    return found


async def test_a_client_that_trusts_the_authority_gets_in_by_name_and_by_address(authority: Authority) -> None:
    async with listening(shown(authority.issue())) as port:
        assert await ask(port, Tls(ca=authority.file)) is None
        assert await ask(port, Tls(ca=authority.file), "127.0.0.1") is None


async def test_clients_that_do_not_fit_are_told_what_to_change(authority: Authority, other: Authority) -> None:
    async with listening(shown(authority.issue())) as port:
        for tls, said in ((Tls(ca=other.file), "--ca"), (Tls(), "--ca"), (None, "--tls")):
            error = await ask(port, tls)
            assert said in str(error)
    async with listening(shown(authority.issue(hosts=["elsewhere.example"]))) as port:
        assert "for another name" in str(await ask(port, Tls(ca=authority.file)))
    async with listening(None) as port:
        assert "does not speak TLS: leave out --tls" in str(await ask(port, Tls(ca=authority.file)))


@pytest.mark.parametrize(("days", "said"), [((-9, -1), "has expired"), ((1, 9), "does not count yet")])
async def test_a_client_says_that_the_certificate_of_the_service_does_not_count_now(
    authority: Authority, days: tuple[float, float], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorax_batch_server.server_certificates.check_identity", lambda *_, **__: None)
    async with listening(shown(authority.issue(days=days))) as port:
        assert said in str(await ask(port, Tls(ca=authority.file)))


async def test_with_client_certificates_only_those_of_the_authority_get_in(
    authority: Authority, other: Authority
) -> None:
    async with listening(shown(authority.issue(), authority.file)) as port:
        mine, strange = authority.issue("me"), other.issue("stranger")
        assert await ask(port, Tls(ca=authority.file, cert=mine.cert, key=mine.key)) is None
        for tls in (Tls(ca=authority.file), Tls(ca=authority.file, cert=strange.cert, key=strange.key)):
            assert "--cert" in str(await ask(port, tls))


async def test_a_new_certificate_counts_from_the_next_connection_on(authority: Authority, other: Authority) -> None:
    used = authority.issue("used")
    async with listening(shown(used)) as port:
        assert await ask(port, Tls(ca=authority.file)) is None
        new = other.issue("new")
        write_anew(used.cert, new.cert.read_bytes())
        assert await ask(port, Tls(ca=authority.file)) is None, (
            "half a change, as a key that is to come, changes nothing"
        )
        write_anew(used.key, new.key.read_bytes())
        assert await ask(port, Tls(ca=other.file)) is None
        assert "--ca" in str(await ask(port, Tls(ca=authority.file)))
        used.cert.unlink()
        assert await ask(port, Tls(ca=other.file)) is None, "a file that is gone for a moment changes nothing"


async def test_a_new_client_authority_counts_from_the_next_connection_on(
    authority: Authority, other: Authority
) -> None:
    callers = authority.file.with_name("callers.pem")
    callers.write_bytes(authority.file.read_bytes())
    mine = other.issue("mine")
    tls = Tls(ca=authority.file, cert=mine.cert, key=mine.key)
    async with listening(shown(authority.issue(), callers)) as port:
        assert await ask(port, tls) is not None
        write_anew(callers, other.file.read_bytes())
        assert await ask(port, tls) is None


@pytest.mark.parametrize("fault", BAD_IDENTITIES)
def test_a_service_with_a_bad_certificate_does_not_start(fault: str, authority: Authority) -> None:
    spoil, at_fault, said = BAD_IDENTITIES[fault]
    spoiled = spoil(authority, authority.issue())
    with pytest.raises(ConfigurationError, match=said) as refused:
        shown(spoiled)
    assert str(refused.value).startswith(f"tls_{at_fault} '")


@pytest.mark.parametrize("fault", BAD_IDENTITIES)
def test_a_client_with_a_bad_certificate_says_so_before_it_connects(fault: str, authority: Authority) -> None:
    spoil, at_fault, said = BAD_IDENTITIES[fault]
    spoiled = spoil(authority, authority.issue())
    with pytest.raises(CertificateError, match=said) as refused:
        Tls(cert=spoiled.cert, key=spoiled.key).credentials()
    assert str(refused.value).startswith(f"{at_fault} '")


@pytest.mark.parametrize("side", ["database", "object_store", "server"])
async def test_a_file_for_any_side_is_checked_before_anything_is_begun(side: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = load_settings(data_dir=data, listen="localhost:0", **{f"{side}_ca": tmp_path / "none"})
    with pytest.raises(ConfigurationError, match=f"{side}_ca '.*none' can't be read"):
        await serve(settings)
    assert not data.exists()


async def test_an_open_listener_with_tls_but_no_login_is_refused_before_anything_is_begun(
    authority: Authority, tmp_path: Path
) -> None:
    issued, data = authority.issue(), tmp_path / "data"
    settings = load_settings(data_dir=data, listen="0.0.0.0:0", tls_cert=issued.cert, tls_key=issued.key)
    with pytest.raises(ConfigurationError, match=r"--tls-client-ca.*--allow-insecure"):
        await serve(settings)
    assert not data.exists()


def test_half_a_pair_is_refused_with_the_other_half(authority: Authority) -> None:
    issued = authority.issue()
    for given, missing in (("cert", "key"), ("key", "cert")):
        files = {given: getattr(issued, given)}
        with pytest.raises(CertificateError, match=f"{given} is given without {missing}"):
            Tls(**files).credentials()
        with pytest.raises(ConfigurationError, match=rf"tls_{given} .* without tls_{missing}"):
            load_settings(**{f"tls_{given}": files[given]}).listener_certificates()
    with pytest.raises(ConfigurationError, match="tls_client_ca is set without tls_cert"):
        load_settings(tls_client_ca=authority.file).listener_certificates()


def test_authorities_that_can_not_be_used_are_told(authority: Authority) -> None:
    issued = authority.issue()
    authority.file.write_bytes(issued.key.read_bytes())
    with pytest.raises(ConfigurationError, match=r"tls_client_ca .*holds a private key, no certificate"):
        shown(issued, authority.file)
    with pytest.raises(CertificateError, match=r"ca .*no certificate"):
        Tls(ca=authority.file).credentials()
    ca = PemFile(setting="server_ca", path=authority.file.with_name("none"))
    with pytest.raises(ConfigurationError, match=r"server_ca .*No such file"):
        ca.certificates()
