"""What gRPC's texts about failed TLS handshakes mean for a person."""

from typing import Final

_CAUSES: Final = {
    "unable to get local issuer": (
        "its certificate is of an authority that is not trusted here: give that authority's file (ca, --ca)"
    ),
    "self signed certificate": "its certificate is self-signed: give it as the authority to trust (ca, --ca)",
    "self-signed certificate": "its certificate is self-signed: give it as the authority to trust (ca, --ca)",
    "certificate has expired": "its certificate has expired: have it renewed, or set the clocks right",
    "certificate is not yet valid": "its certificate does not count yet: set the clocks right, or have it renewed",
    "Hostname Verification Check failed": (
        "its certificate is for another name: use a target that the certificate names"
    ),
    "WRONG_VERSION_NUMBER": "it does not speak TLS: leave out --tls, --ca, --cert and --key (tls)",
}
_FIRST_CONTACT: Final = "failed to connect to all addresses; last error: UNAVAILABLE: "
_CLOSED: Final = ("Socket closed", "onnection reset by peer")
_CLOSED_CAUSE: Final = (
    "it closed the connection at once: it may want TLS (--tls, --ca), or a client certificate that it trusts "
    "(--cert, --key)"
)


def tls_cause(text: str) -> str | None:
    """Return what gRPC's message says of TLS, None when it says nothing."""
    for mark, cause in _CAUSES.items():
        if mark in text:
            return cause
    if text.startswith(_FIRST_CONTACT) and any(mark in text for mark in _CLOSED):
        return _CLOSED_CAUSE
    return f"the TLS handshake failed: {text}" if "handshake failed" in text else None
