"""Sends messages over HTTP."""

import asyncio
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.webhooks.address_rules import AddressRules, ForbiddenAddressError
from lorax_batch_scheduler.webhooks.guarded_resolver import GuardedResolver
from lorax_batch_scheduler.webhooks.webhook import Attempt

TIMEOUT_S: Final = 15.0
"""For everything: name, connection, TLS, and the answer's head."""
RESOLVE_TIMEOUT_S: Final = 5.0
MAX_CONNECTIONS: Final = 64
MAX_CONNECTIONS_TO_ONE_HOST: Final = 8
IDLE_S: Final = 15.0
MAX_HEADER_BYTES: Final = 8_190
MAX_ERROR_CHARACTERS: Final = 300
_USER_AGENT: Final = "lorax-batch"
_SECONDS: Final = re.compile(r"\d{1,7}")


class Sender:
    """Posts bodies to URLs of callers; use it as an asynchronous context manager.

    Every connection goes to an address that was checked: looked up once, and checked again when its socket is made.
    Redirects are not followed, no proxy of the environment is used, no cookie is kept, and no answer's body is read.

    *Resources*: kept-alive connections, closed with it.
    """

    def __init__(self, rules: AddressRules, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> None:
        self._rules = rules
        self._clock = clock
        self._timeout_s = timeout_s
        self._resolver = GuardedResolver(rules)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            # An answer that was good a minute ago may lead elsewhere now; the check is of what is used.
            use_dns_cache=False,
            socket_factory=self._make_socket,
            limit=MAX_CONNECTIONS,
            limit_per_host=MAX_CONNECTIONS_TO_ONE_HOST,
            keepalive_timeout=IDLE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            headers={"User-Agent": _USER_AGENT, "Content-Type": "application/json"},
            skip_auto_headers=("Accept-Encoding",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self, url: str) -> None:
        """Check a URL that a caller gives, also where its name leads now.

        Raises:
            InvalidInputError: says what is wrong with it.
        """
        self._rules.check_url(url)
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                await self._resolver.resolve(host)
        except ForbiddenAddressError as error:
            raise InvalidInputError("webhook.url", str(error)) from None
        except (OSError, UnicodeError, TimeoutError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "no answer"
            raise InvalidInputError("webhook.url", f"its host {host[:80]!r} can't be looked up: {why}") from None

    @failpoint(before="webhook.before_send", after="webhook.after_send")
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Post a body once; whatever happens is an attempt, never an exception."""
        assert self._session is not None, "the sender is used before it is entered"
        began = self._clock.monotonic()
        try:
            self._rules.check_url(url)  # the rules may be others than when it was given
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return Attempt(
                    status=response.status,
                    latency=self._since(began),
                    error=_verdict(response.status, response.headers.get("Location", "")),
                    retry_after=_retry_after(response.headers.get("Retry-After", "")),
                )
        except InvalidInputError as error:
            why = error.message
        except TimeoutError:
            why = f"no answer within {self._timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = _reason(error)
        return Attempt(status=0, latency=self._since(began), error=_printable(why))

    def _since(self, began: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - began)

    def _make_socket(self, address: Any) -> socket.socket:  # noqa: ANN401 - aiohttp's own type of it
        """Make the socket for one address: the last door, which what looks like an address can't go around."""
        family, kind, protocol, _, sockaddr = address
        self._rules.check_address(str(sockaddr[0]), str(sockaddr[0]))
        return socket.socket(family=family, type=kind, proto=protocol)


def _verdict(status: int, location: str) -> str:
    """Return why a status means that it was not delivered; empty: it was."""
    if 200 <= status < 300:
        return ""
    if status == 410:
        return "the receiver wants no more messages (410)"
    if 300 <= status < 400:
        to = f" to {_printable(location)}" if location else ""
        return f"the receiver redirects{to} ({status}), which is not followed: give the webhook that URL"
    return f"the receiver answered with status {status}"


def _retry_after(text: str) -> timedelta:
    """Read the header's seconds; a date, which needs two clocks that agree, is left out."""
    return timedelta(seconds=int(text)) if _SECONDS.fullmatch(text) else timedelta()


def _reason(error: Exception) -> str:
    """Return what went wrong in words for the receiver's owner."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not good: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError) and not isinstance(error.os_error, ForbiddenAddressError):
        return f"its host can't be looked up: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the receiver closed the connection without an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"its answer can't be read: {error.message}"
    return f"{type(error).__name__}: {error}"


def _printable(text: str) -> str:
    """Return a text that comes from elsewhere as one short line."""
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return line if len(line) <= MAX_ERROR_CHARACTERS else line[:MAX_ERROR_CHARACTERS] + "..."
