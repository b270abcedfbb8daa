"""Calls as no decent client makes them, and what their answers must be."""

from __future__ import annotations  # grpc's own types are generic for type checkers only

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from lorax_batch.v1 import dataset_pb2, datasets_pb2

from tests.fuzz.rpc_messages import MessageMaker

DETAILS_KEY: Final = "grpc-status-details-bin"
HANGS_S: Final = 30.0
"""A unary call that takes so long hangs."""
MAX_TRAILERS_BYTES: Final = 7_000
"""Peers accept 8 KiB."""
_MAX_MESSAGE_BYTES: Final = (4 << 20) + (64 << 10)
_Code = grpc.StatusCode
_Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(slots=True, kw_only=True)
class Caller:
    """Makes calls one behind the other, checks every answer, and remembers what it has seen."""

    channel: grpc.aio.Channel
    maker: MessageMaker
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def call(self, method: MethodDescriptor) -> None:
        """Make one call of a method in some odd way."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        chance = self.maker.chance
        requests = self._upload() if method.client_streaming else [self.maker.raw(method.input_type)]
        hurry = chance.random() < 0.15
        timeout_s = chance.random() * 0.05 if hurry else 0.1 if method.server_streaming else HANGS_S
        impatient = chance.random() < 0.1
        call = self._open(path, method, requests, timeout_s)
        try:
            if impatient:
                await asyncio.sleep(chance.random() * 0.02)
                call.cancel()
            await self._answers(method, call)
        except asyncio.CancelledError:
            if not impatient:
                raise
            self.codes[method.name, "CANCELLED"] += 1
        except grpc.aio.AioRpcError as error:
            self.codes[method.name, error.code().name] += 1
            if error.code() is _Code.DEADLINE_EXCEEDED and (hurry or method.server_streaming):
                return
            if error.code() is _Code.CANCELLED and impatient:
                return
            try:
                missing = check_refusal(error, method, requests)
            except AssertionError as failure:
                failure.add_note(f"{path} of {_shown(method, requests)} was answered {error.code()}: {error.details()}")
                raise
            self.maker.forget(missing)
        else:
            self.codes[method.name, "OK"] += 1

    def _open(self, path: str, method: MethodDescriptor, requests: list[bytes], timeout_s: float) -> Any:
        metadata = self._metadata()
        if method.client_streaming:
            many: Any = self.channel.stream_unary(path)
            return many(_each(requests), timeout=timeout_s, metadata=metadata)
        open_call: Any = (self.channel.unary_stream if method.server_streaming else self.channel.unary_unary)(path)
        return open_call(requests[0], timeout=timeout_s, metadata=metadata)

    async def _answers(self, method: MethodDescriptor, call: Any) -> None:
        answer_type = message_factory.GetMessageClass(method.output_type)
        if not method.server_streaming:
            self.maker.learn(answer_type.FromString(await call))
            return
        left = self.maker.chance.choice((0, 1, 3, 1_000))
        async for raw in call:
            self.maker.learn(answer_type.FromString(raw))
            left -= 1
            if left < 0:
                call.cancel()
                return

    def _metadata(self) -> _Metadata:
        chance = self.maker.chance
        if chance.random() < 0.8:
            return ()
        return chance.choice(
            (
                (("x", ""),) * 50,
                (("x-long", "v" * 4_000),),
                (("rubbish-bin", chance.randbytes(500)),),
                (("authorization", "Bearer \\x00%00"), ("traceparent", "00-zz"), ("host", "nowhere")),
                (("content-language", "'; DROP TABLE jobs; --"), ("x-forwarded-for", "127.0.0.1")),
                ((DETAILS_KEY, b"\xff\xff"),),
            )
        )

    def _upload(self) -> list[bytes]:
        """Return the messages of an upload: in order, out of order, cut off, or none."""
        chance, request = self.maker.chance, datasets_pb2.UploadDatasetRequest
        start = request(
            start=datasets_pb2.UploadStart(name="fuzz", on_invalid=chance.choice(tuple(dataset_pb2.OnInvalid.values())))
        ).SerializeToString()
        finish = request(finish=datasets_pb2.UploadFinish()).SerializeToString()
        data = request(data=b'{"custom_id": "a"}\n' * chance.choice((1, 1, 1_000))).SerializeToString()
        rubbish = [self.maker.raw(request.DESCRIPTOR) for _ in range(3)]
        return chance.choice(
            (
                [],
                [start],
                [start] * 500,
                [start, data, finish],
                [start, finish],
                [data, start, finish],
                [finish],
                [start, data, finish, data],
                [start, data, start, data],
                [b""] * 20,
                [start, *[request(data=b"").SerializeToString()] * 300, finish],
                [start, *rubbish],
                rubbish,
                [*rubbish[:1], data, finish],
                [start, b"\xff" * 200, data],
            )
        )


def check_refusal(error: grpc.aio.AioRpcError, method: MethodDescriptor, requests: list[bytes]) -> str:
    """Check that a refusal is the caller's fault or passes, says why with details, and is not too large to travel.

    Returns the name of what does not exist, "" when that is not why.
    """
    code = error.code()
    if code is _Code.RESOURCE_EXHAUSTED and max(map(len, requests), default=0) > _MAX_MESSAGE_BYTES:
        return ""
    assert code not in (_Code.INTERNAL, _Code.UNKNOWN, _Code.UNIMPLEMENTED, _Code.DEADLINE_EXCEEDED, _Code.CANCELLED)
    trailers = dict(error.trailing_metadata() or ())
    size = sum(len(key) + len(value) for key, value in trailers.items()) * 4 / 3 + 3 * len(
        (error.details() or "").encode()
    )
    assert size <= MAX_TRAILERS_BYTES
    raw = trailers.get(DETAILS_KEY)
    assert isinstance(raw, bytes), "no details"
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (code.value[0], error.details())
    assert status.message
    assert "Traceback" not in status.message
    info, bad, missing = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.ResourceInfo()
    for detail in status.details:
        for known in (info, bad, missing):
            detail.Unpack(known)
    assert (info.domain, bool(info.reason)) == ("lorax-batch", True)
    if code is _Code.INVALID_ARGUMENT and info.reason != "MALFORMED_REQUEST":
        assert bad.field_violations
        for violation in bad.field_violations:
            assert violation.description
            _check_path(method.input_type, violation.field)
    return str(missing.resource_name)


def _check_path(descriptor: Descriptor, path: str) -> None:
    """Check that a violation names a field of the request; only keys of maps may be anything."""
    found: Any = descriptor
    # A key in brackets may hold dots.
    for name in path.partition("[")[0].split("."):
        assert found is not None, f"'{path}' goes on behind a field without fields"
        one = found.fields_by_name.get(name) or found.oneofs_by_name.get(name)
        assert one is not None, f"the request has no field '{path}'"
        found = getattr(one, "message_type", None)


async def _each(requests: list[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def _shown(method: MethodDescriptor, requests: list[bytes]) -> str:
    shown = []
    for raw in requests[:5]:
        try:
            shown.append(str(message_factory.GetMessageClass(method.input_type).FromString(raw))[:1_500])
        except Exception:
            shown.append(raw[:300].hex())
    return repr(shown)
