"""The channel to the service, and the three ways to call over it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import grpc

from lorax_batch_client.channel import DEFAULT_TARGET, channel_options, check_target
from lorax_batch_client.cursor import Cursor
from lorax_batch_client.error_mapping import error_from_rpc
from lorax_batch_client.errors import BrokenStreamError, ClientError
from lorax_batch_client.retry_policy import Patience, RetryPolicy

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")
Sleep = Callable[[float], object]


class Connection:
    """A lazily opened channel; closed by `close` or at the end of `with`."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: timedelta = timedelta(seconds=30),
        retry: RetryPolicy | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.target = check_target(target)
        self._timeout_seconds = timeout.total_seconds()
        self._retry = retry or RetryPolicy()
        self._credentials = credentials
        self._sleep = sleep
        self._opened: grpc.Channel | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and close the channel; a later call opens a new one."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _channel(self) -> grpc.Channel:
        if self._opened is None:
            options = channel_options(self.target)
            if self._credentials is None:
                self._opened = grpc.insecure_channel(self.target, options)
            else:
                self._opened = grpc.secure_channel(self.target, self._credentials, options)
        return self._opened

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]", request: RequestT) -> ResponseT:
        with self._mapped_errors():
            return method(request, timeout=self._timeout_seconds)

    def _read(
        self, method: "grpc.UnaryStreamMultiCallable[RequestT, ResponseT]", cursor: Cursor[RequestT, ResponseT, ItemT]
    ) -> Iterator[ItemT]:
        """Yield what the cursor makes of a stream, over as many connections as it takes."""
        patience = Patience(self._retry)
        while True:
            try:
                for message in self._read_once(method, cursor.request()):
                    patience.reset()
                    yield from cursor.take(message)
                if cursor.is_complete:
                    return
                raise BrokenStreamError(f"the service at {self.target} ended the answer before its end")
            except ClientError as error:
                delay = 0.0 if cursor.recover(error) else patience.delay_after(error)
            self._sleep(delay)

    def _read_once(
        self, method: "grpc.UnaryStreamMultiCallable[RequestT, ResponseT]", request: RequestT
    ) -> Iterator[ResponseT]:
        call = method(request)
        try:
            with self._mapped_errors():
                yield from call
        finally:
            call.cancel()

    @contextlib.contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.target) from error
