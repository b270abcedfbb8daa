"""One call of a cluster's API: sent with credentials, within a time, and again where the trouble passes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import UNREACHABLE, ClusterError, error_of

TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_S: Final = 90.0
"""A watch silent for longer is dead: the API ends it before. Its bookmarks tell nothing of that, as it sends none while
nothing of a kind changes in the whole cluster."""
ATTEMPTS: Final = 4
RETRY_S: Final = 0.25
"""Before the second attempt of a call; doubled before each further one."""

NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError, RuntimeError)
"""What the client raises; RuntimeError for a session that was closed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    """May hold a secret."""
    content_type: str = "application/json"
    is_watch: bool = False
    """Its answer goes on, so that only its silence is limited."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class RestClient(Protocol):
    """The part of kubernetes_asyncio's ApiClient that is used: it adds the credentials."""

    async def call_api(
        self,
        resource_path: str,
        method: str,
        *,
        query_params: list[tuple[str, str]],
        header_params: dict[str, str],
        body: dict[str, object] | None,
        auth_settings: list[str],
        _preload_content: bool,
        _request_timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Sends calls."""

    client: RestClient
    clock: Clock
    chance: Callable[[], float] = random.random
    renew: Callable[[], Awaitable[None]] | None = None
    """Reads the credentials anew: tokens end."""

    async def read(self, call: Call) -> bytes:
        """Return the body of an answer. Raises `ClusterError` when there is none, or it is a refusal."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._try(call)
            except ClusterError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                if error.status == HTTPStatus.UNAUTHORIZED and self.renew is not None:
                    await self.renew()
                elif not (error.may_pass or (error.is_conflict and call.method == "PATCH")):
                    raise  # an apply in conflict has met another writer; other conflicts stay what they are
                await self.clock.sleep(RETRY_S * 2**attempt * (0.5 + self.chance()))
        raise AssertionError("the last attempt returns or raises")

    async def send(self, call: Call) -> aiohttp.ClientResponse:
        """Send a call once and return its answer, whatever it is, with the body still to be read."""
        if call.is_watch:
            timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S)
        else:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        return await self.client.call_api(
            call.path,
            call.method,
            query_params=list(call.query.items()),
            header_params={"Accept": "application/json", "Content-Type": call.content_type},
            body=dict(call.body) if call.body is not None else None,
            auth_settings=["BearerToken"],
            _preload_content=False,  # the answer as it comes: the library's models cost more than all of this
            _request_timeout=timeout,
        )

    async def _try(self, call: Call) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT_S), await self.send(call) as answer:
                body = await answer.read()
        except NO_ANSWER as error:
            raise ClusterError(str(call), UNREACHABLE, "", f"{type(error).__name__}: {error}") from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise error_of(str(call), answer.status, body)
        return body
