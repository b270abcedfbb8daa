"""What a failed TLS handshake means, and which setting puts it right."""

import ssl
from collections.abc import Iterator
from typing import Final, TypeGuard

_UNTRUSTED: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's codes: self-signed, or an authority that is not known here."""
_OTHER_NAME: Final = frozenset({62, 64})
_ALERTS: Final = ("ALERT", "CERTIFICATE_REQUIRED")


def tls_advice(error: BaseException, *, prefix: str) -> str:
    """Return what to do about an error of a connection, "" where TLS has nothing to do with it.

    `prefix`: of the settings that name the files: `server` for `server_ca`, `server_cert` and `server_key`.
    """
    found = next((each for each in _chain(error) if _says_why(each)), None)
    if found is None:
        return ""
    if isinstance(found, ssl.SSLCertVerificationError):
        return _verification_advice(found, prefix)
    reason = str(getattr(found, "reason", "") or "")
    if "WRONG_VERSION" in reason or "UNKNOWN_PROTOCOL" in reason or "RECORD_LAYER" in reason:
        return "it does not speak TLS on that port: correct the port, or leave TLS out of the address"
    if any(word in reason for word in _ALERTS):
        return (
            f"it refused us ({reason}): it wants a client certificate that it trusts and that has not expired, "
            f"set {prefix}_cert and {prefix}_key"
        )
    return ""


def with_advice(text: str, error: BaseException, *, prefix: str) -> str:
    """Return a message with what to do about it, where TLS is the reason."""
    advice = tls_advice(error, prefix=prefix)
    return f"{text}; {advice}" if advice else text


def closed_advice(prefix: str) -> str:
    """Return what it may mean that a server ends a TLS connection without a word, as TLS 1.3 lets it."""
    return f"if it asks for client certificates: set {prefix}_cert and {prefix}_key to one that it trusts"


def _says_why(error: BaseException) -> TypeGuard[ssl.SSLError]:
    # Libraries derive errors of their own, without the code and the reason of the one that they wrap.
    return isinstance(error, ssl.SSLError) and type(error).__module__ == "ssl"


def _verification_advice(error: ssl.SSLCertVerificationError, prefix: str) -> str:
    if error.verify_code in _UNTRUSTED:
        return f"its certificate is of an authority that is not trusted here: set {prefix}_ca to that authority's file"
    if error.verify_code in _OTHER_NAME:
        return (
            "its certificate is for another name: reach it by a name that the certificate has, or have one made "
            "for this name"
        )
    return "have its certificate renewed, or set the clocks right"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        for held in ("certificate_error", "os_error", "_certificate_error", "_os_error"):
            inner = getattr(seen, held, None)
            if isinstance(inner, BaseException):
                yield inner
        seen = seen.__cause__ or seen.__context__
