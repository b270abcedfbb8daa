"""What tenants are told of servers."""

import pytest
from lorax_batch_scheduler.scheduling.server_view import without_address


@pytest.mark.parametrize(
    ("said", "url", "told"),
    [
        (
            "[Errno 111] Connect call failed ('10.0.0.7', 8080)",
            "http://10.0.0.7:8080",
            "[Errno 111] Connect call failed",
        ),
        (
            "Connect call failed ('::1', 80, 0, 0), [Errno 111] Connect call failed ('127.0.0.1', 80)",
            "http://localhost",
            "Connect call failed, [Errno 111] Connect call failed",
        ),
        (
            "400, message='Bad status line', url='http://gpu-1.inside:80/info'",
            "http://gpu-1.inside:80",
            "400, message='Bad status line', url='its address/info'",
        ),
        (
            "Hostname mismatch, certificate is not valid for 'server'. the server says no at server:443",
            "https://server:443",
            "Hostname mismatch, certificate is not valid for its address. the server says no at its address",
        ),
        ("no answer to /info within 2 s", "", "no answer to /info within 2 s"),
    ],
)
def test_where_a_server_listens_is_left_out(said: str, url: str, told: str) -> None:
    assert without_address(said, url) == told
