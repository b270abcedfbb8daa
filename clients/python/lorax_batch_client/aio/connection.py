"""The channels to the replicas of the service, and the ways to call over them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc import aio

from lorax_batch_client.channel import (
    ATTEMPTS,
    ATTEMPTS_OF_MANY,
    DEFAULT_TARGET,
    channel_options,
    key_metadata,
    may_be_sent_twice,
)
from lorax_batch_client.cursor import Cursor
from lorax_batch_client.error_mapping import error_from_rpc
from lorax_batch_client.errors import BrokenStreamError, ClientError, ResourceExhaustedError, UnavailableError
from lorax_batch_client.rate_pause import RatePause
from lorax_batch_client.retry_policy import Patience, RetryPolicy
from lorax_batch_client.targets import Targets
from lorax_batch_client.tls import Tls

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")
Sleep = Callable[[float], Awaitable[object]]


class Connection:
    """Lazily opened channels, one a replica; closed by `close` or at the end of `async with`."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: timedelta = timedelta(seconds=30),
        retry: RetryPolicy | None = None,
        tls: Tls | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str = "",
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`tls` or `credentials`: None for a plain connection.

        Raises:
            CertificateError: a file of `tls` can't be used.
        """
        self._targets = Targets(target)
        self.target = target
        self._timeout_seconds = timeout.total_seconds()
        self._retry = retry or RetryPolicy()
        self._credentials = tls.credentials() if tls is not None else credentials
        self._metadata = key_metadata(api_key)
        self._sleep = sleep
        self._opened: dict[str, aio.Channel] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and close the channels; a later call opens a new one."""
        while self._opened:
            await self._opened.popitem()[1].close()

    @property
    def _channel(self) -> aio.Channel:
        target = self._targets.current
        if target not in self._opened:
            options = channel_options(target, attempts=ATTEMPTS if len(self._targets) == 1 else ATTEMPTS_OF_MANY)
            if self._credentials is None:
                self._opened[target] = aio.insecure_channel(target, options)
            else:
                self._opened[target] = aio.secure_channel(target, self._credentials, options)
        return self._opened[target]

    def _patience(self) -> Patience:
        """Return what decides how long one operation goes on."""
        return Patience(self._retry, replicas=len(self._targets))

    async def _call(
        self, method: "Callable[[], aio.UnaryUnaryMultiCallable[RequestT, ResponseT]]", request: RequestT
    ) -> ResponseT:
        """Call the replica in use; the next ones where it can't be reached and a second call does no harm."""
        tries = len(self._targets) if may_be_sent_twice(request) else 1
        pause = RatePause(self._timeout_seconds)
        while True:
            try:
                with self._mapped_errors():
                    return await method()(request, timeout=self._timeout_seconds, metadata=self._metadata)
            except UnavailableError:
                tries -= 1
                if not tries:
                    raise
            except ResourceExhaustedError as error:
                await self._sleep(pause.after(error))

    async def _read(
        self,
        method: "Callable[[], aio.UnaryStreamMultiCallable[RequestT, ResponseT]]",
        cursor: Cursor[RequestT, ResponseT, ItemT],
    ) -> AsyncGenerator[ItemT, None]:
        """Yield what the cursor makes of a stream, over as many connections as it takes."""
        patience = self._patience()
        while True:
            try:
                async with contextlib.aclosing(self._read_once(method(), cursor.request())) as messages:
                    async for message in messages:
                        patience.reset()
                        for item in cursor.take(message):
                            yield item
                if cursor.is_complete:
                    return
                raise BrokenStreamError(f"the service at {self.target} ended the answer before its end")
            except ClientError as error:
                delay = 0.0 if cursor.recover(error) else patience.delay_after(error)
            await self._sleep(delay)

    async def _read_once(
        self, method: "aio.UnaryStreamMultiCallable[RequestT, ResponseT]", request: RequestT
    ) -> AsyncGenerator[ResponseT, None]:
        call = method(request, metadata=self._metadata)
        try:
            with self._mapped_errors():
                async for message in call:
                    yield message
        finally:
            call.cancel()

    @contextlib.contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        target = self._targets.current
        try:
            yield
        except grpc.RpcError as error:
            mapped = error_from_rpc(error, target)
            if isinstance(mapped, UnavailableError):
                self._targets.move_on(target)
            raise mapped from error
