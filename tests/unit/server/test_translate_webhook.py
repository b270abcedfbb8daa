"""What of webhooks' URLs is shown to whom."""

import pytest
from lorax_batch_server.translate_webhook import without_paths


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://hooks.example/services/T0/B0/secret?key=1", "https://hooks.example/[redacted]"),
        ("https://hooks.example:8443?token=secret", "https://hooks.example:8443/[redacted]"),
        ("https://hooks.example/", "https://hooks.example/"),
        (
            "the receiver redirects to https://hooks.example/secret/ (301), which is not followed",
            "the receiver redirects to https://hooks.example/[redacted] (301), which is not followed",
        ),
        ("the receiver redirects to /T0/secret (308)", "the receiver redirects to /[redacted] (308)"),
        ("no answer within 15 s and/or its host is away", "no answer within 15 s and/or its host is away"),
        ("", ""),
    ],
)
def test_what_stands_behind_a_host_is_blotted_out(text: str, told: str) -> None:
    assert without_paths(text) == told
