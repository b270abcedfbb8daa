"""Around every call of ours: reads the request, maps errors to status codes, logs and counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc
import structlog
from google.protobuf.message import DecodeError

from lorax_batch_server.access import Access, Metadata
from lorax_batch_server.caller import set_caller
from lorax_batch_server.errors import MalformedRequestError
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.outage import Outage
from lorax_batch_server.status import ErrorStatus, error_status
from lorax_batch_server.stopping import Stopping

OUR_METHODS: Final = "/lorax_batch."
_QUIET: Final = ("Get", "List")
"""Calls that only read, and may come often, are logged at DEBUG when they succeed."""

_log = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]
_Handler = Any
"""grpcio's `RpcMethodHandler`, whose attributes its types leave out."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our services; health and reflection stay as they are."""

    def __init__(self, metrics: ApiMetrics, stopping: Stopping, outage: Outage, access: Access) -> None:
        self._access = access
        self._metrics = metrics
        self._stopping = stopping
        self._outage = outage

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS):
            return handler
        admission = _Admission(self._access, method, handler_call_details.invocation_metadata)
        serializer = handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(admission, handler.stream_unary, _each(handler.request_deserializer), bounded=True),
                response_serializer=serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(admission, handler.unary_stream, _one(handler.request_deserializer)),
                response_serializer=serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(admission, handler.unary_unary, _one(handler.request_deserializer), bounded=False),
            response_serializer=serializer,
        )

    def _unary(
        self, admission: "_Admission", behaviour: Callable[..., Any], read: Callable[[Any], Any], *, bounded: bool
    ) -> Callable[[Any, _Context], Awaitable[Any]]:
        async def call(raw: Any, context: _Context) -> Any:  # noqa: ANN401 - any message
            with _Call(admission.name, self._metrics, unary=not bounded).running() as watched:
                try:
                    async with (
                        self._outage.cut_off(),
                        self._stopping.cut_off() if bounded else nullcontext(),
                        await admission.granted(for_long=bounded),
                    ):
                        return await behaviour(watched.reading(read(raw)), context)
                except Exception as error:
                    status = watched.failed(error)
            return await _abort(context, status)

        return call

    def _stream(
        self, admission: "_Admission", behaviour: Callable[..., Any], read: Callable[[Any], Any]
    ) -> Callable[[Any, _Context], Awaitable[None]]:
        async def call(raw: Any, context: _Context) -> None:  # noqa: ANN401 - any message
            with _Call(admission.name, self._metrics, unary=False).running() as watched:
                try:
                    # An open stream stays: a watch goes on where it was when PostgreSQL is back.
                    self._outage.check()
                    async with (
                        self._stopping.cut_off(),
                        await admission.granted(for_long=True),
                        # Closed here, not by the garbage collector: a broken connection must free what it holds.
                        aclosing(behaviour(watched.reading(read(raw)), context)) as responses,
                    ):
                        async for response in responses:
                            await context.write(response)
                        return
                except Exception as error:
                    status = watched.failed(error)
            await _abort(context, status)

        return call


@dataclass(frozen=True, slots=True)
class _Admission:
    """What decides who makes a call."""

    access: Access
    method: str
    metadata: Metadata

    @property
    def name(self) -> str:
        """The method's name alone."""
        return self.method.rpartition("/")[2]

    async def granted(self, *, for_long: bool) -> AbstractAsyncContextManager[None]:
        """Tell handler and log who calls, and return what the call runs under."""
        caller = await self.access.admit(self.method, self.metadata)
        set_caller(caller)
        return self.access.while_good(caller) if for_long else nullcontext()


class _Call:
    """One call while it runs: its log line and its metrics."""

    def __init__(self, name: str, metrics: ApiMetrics, *, unary: bool) -> None:
        self._name = name
        self._metrics = metrics
        self._unary = unary
        self._code = grpc.StatusCode.OK
        self._message = ""

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Count and log the call whatever becomes of it."""
        structlog.contextvars.bind_contextvars(method=self._name)
        self._metrics.call_began(self._name)
        began = time.perf_counter()
        try:
            yield self
        except asyncio.CancelledError:
            # The caller went away, or the service's grace is over.
            self._code = grpc.StatusCode.CANCELLED
            raise
        finally:
            seconds = time.perf_counter() - began
            self._metrics.call_ended(self._name, self._code.name, seconds, unary=self._unary)
            self._log(seconds)

    def reading(self, request: Any) -> Any:  # noqa: ANN401 - any message
        """Bind the job that a request is about to the log, and return the request."""
        job_id = getattr(request, "job_id", "")
        if job_id:
            structlog.contextvars.bind_contextvars(job_id=job_id[:64])
        return request

    def failed(self, error: Exception) -> ErrorStatus:
        """Return what the caller is told; what is unexpected is logged here, once."""
        status = error_status(error)
        self._code, self._message = status.code, status.message
        if status.unexpected:
            _log.error("call_failed", error=repr(error), exc_info=error)
        return status

    def _log(self, seconds: float) -> None:
        quiet = self._code is grpc.StatusCode.OK and self._name.startswith(_QUIET)
        log = _log.debug if quiet else _log.info
        extra = {"error": self._message} if self._message else {}
        log("call", code=self._code.name, ms=round(seconds * 1000, 2), **extra)


async def _abort(context: _Context, status: ErrorStatus) -> None:
    await context.abort(status.code, status.message, status.trailing_metadata)


def _one(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Read a request here instead of in grpcio, which answers a broken one with INTERNAL."""

    def read(raw: bytes) -> Any:  # noqa: ANN401 - any message
        try:
            return deserialize(raw)
        except DecodeError as error:
            raise MalformedRequestError(f"the request can't be read: {error}") from error

    return read


def _each(deserialize: Callable[[bytes], Any]) -> Callable[[AsyncIterator[bytes]], AsyncIterator[Any]]:
    read_one = _one(deserialize)

    async def read(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raws:
            yield read_one(raw)

    return read
