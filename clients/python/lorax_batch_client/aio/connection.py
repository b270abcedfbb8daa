"""The channel to the service, and the three ways to call over it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import grpc
from grpc import aio

from lorax_batch_client.channel import DEFAULT_TARGET, channel_options, check_target
from lorax_batch_client.cursor import Cursor
from lorax_batch_client.error_mapping import error_from_rpc
from lorax_batch_client.errors import BrokenStreamError, ClientError
from lorax_batch_client.retry_policy import Patience, RetryPolicy

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")
Sleep = Callable[[float], Awaitable[object]]


class Connection:
    """A lazily opened channel; closed by `close` or at the end of `async with`."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: timedelta = timedelta(seconds=30),
        retry: RetryPolicy | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.target = check_target(target)
        self._timeout_seconds = timeout.total_seconds()
        self._retry = retry or RetryPolicy()
        self._credentials = credentials
        self._sleep = sleep
        self._opened: aio.Channel | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and close the channel; a later call opens a new one."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    @property
    def _channel(self) -> aio.Channel:
        if self._opened is None:
            options = channel_options(self.target)
            if self._credentials is None:
                self._opened = aio.insecure_channel(self.target, options)
            else:
                self._opened = aio.secure_channel(self.target, self._credentials, options)
        return self._opened

    async def _call(self, method: "aio.UnaryUnaryMultiCallable[RequestT, ResponseT]", request: RequestT) -> ResponseT:
        with self._mapped_errors():
            return await method(request, timeout=self._timeout_seconds)

    async def _read(
        self, method: "aio.UnaryStreamMultiCallable[RequestT, ResponseT]", cursor: Cursor[RequestT, ResponseT, ItemT]
    ) -> AsyncGenerator[ItemT, None]:
        """Yield what the cursor makes of a stream, over as many connections as it takes."""
        patience = Patience(self._retry)
        while True:
            try:
                async with contextlib.aclosing(self._read_once(method, cursor.request())) as messages:
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
        call = method(request)
        try:
            with self._mapped_errors():
                async for message in call:
                    yield message
        finally:
            call.cancel()

    @contextlib.contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from error
