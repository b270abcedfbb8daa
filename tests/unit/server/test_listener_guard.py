"""Which listeners may be opened."""

import itertools

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.listen_address import parse_listen
from lorax_batch_server.listener_guard import check_listener

OPEN = ("0.0.0.0:1", "[::]:1", ":1", "10.0.0.7:1", "batch.example:1")
CLOSED = ("localhost:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "unix:/run/s")


@pytest.mark.parametrize(
    ("listen", "tls", "auth", "allow_insecure"),
    [
        *((listen, *rest) for listen in CLOSED for rest in itertools.product((False, True), repeat=3)),
        *((listen, tls, auth, True) for listen in OPEN for tls in (False, True) for auth in (False, True)),
        *((listen, True, True, False) for listen in OPEN),
    ],
)
def test_loopback_what_is_secure_and_what_is_allowed_may_be_opened(
    listen: str, tls: bool, auth: bool, allow_insecure: bool
) -> None:
    check_listener(parse_listen(listen), tls=tls, auth=auth, allow_insecure=allow_insecure)


@pytest.mark.parametrize("listen", OPEN)
@pytest.mark.parametrize(
    ("tls", "auth", "missing", "way_out"),
    [
        (False, False, "neither TLS nor a login", ["--tls-cert", "--tls-key", "--tls-client-ca", "setting auth"]),
        (False, True, "no TLS", ["--tls-cert", "--tls-key"]),
        (True, False, "anybody who can connect", ["--tls-client-ca", "setting auth"]),
    ],
)
def test_what_strangers_reach_is_refused_with_what_is_missing_and_the_flag(
    listen: str, tls: bool, auth: bool, missing: str, way_out: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_listener(parse_listen(listen), tls=tls, auth=auth, allow_insecure=False)
    said = str(refused.value)
    assert str(parse_listen(listen)) in said
    assert missing in said
    for each in (*way_out, "--allow-insecure"):
        assert each in said
    assert tls or "--tls-cert" in said
    assert not tls or "--tls-cert" not in said
