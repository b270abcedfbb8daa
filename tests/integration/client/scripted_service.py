"""A real gRPC server whose answers a test writes down beforehand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status
from lorax_batch.v1 import (
    batch_inference_pb2_grpc,
    dataset_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    fleet_pb2_grpc,
    webhooks_pb2_grpc,
)


@dataclass(frozen=True, kw_only=True)
class Abort:
    """An answer that is an error."""

    code: grpc.StatusCode
    text: str = "scripted"
    details: tuple[Message, ...] = ()

    async def send(self, context: Any) -> None:
        packed = []
        for detail in self.details:
            one = any_pb2.Any()
            one.Pack(detail)
            packed.append(one)
        status = status_pb2.Status(code=self.code.value[0], message=self.text, details=packed)
        await context.abort_with_status(rpc_status.to_status(status))


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A stream that says no more until its reader goes."""

    async def send(self, context: Any) -> None:
        await asyncio.Event().wait()


def reason(text: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    """Return the detail that every error of the service carries."""
    return error_details_pb2.ErrorInfo(reason=text, domain="lorax-batch", metadata=metadata)


UNAVAILABLE = Abort(code=grpc.StatusCode.UNAVAILABLE, text="shutting down", details=(reason("SHUTTING_DOWN"),))


@dataclass
class Script:
    """Answers by method, in order: a message, a list of messages and aborts for a stream, or an abort."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    makers: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)

    def expect(self, method: str, *answers: Any) -> None:
        self.answers.setdefault(method, []).extend(answers)

    def serve(self, method: str, make: Callable[[Any], Any]) -> None:
        """Answer every request for a method with what is made of it."""
        self.makers[method] = make

    async def answer(self, method: str, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if method in self.makers:
            return self.makers[method](request)
        answers = self.answers.get(method)
        assert answers, f"unexpected {method}"
        answer = answers.pop(0)
        if isinstance(answer, Abort):
            await answer.send(context)
        return answer

    async def stream(self, method: str, request: Any, context: Any) -> AsyncIterator[Any]:
        copy = type(request)()
        copy.CopyFrom(request)
        for part in await self.answer(method, copy, context):
            if isinstance(part, Abort | Silence):
                await part.send(context)
            yield part


def scripted(base: type, script: Script, unary: tuple[str, ...], streams: tuple[str, ...] = ()) -> Any:
    """Return a servicer of that base whose methods answer from the script."""

    def make_unary(name: str) -> Any:
        async def method(_: Any, request: Any, context: Any) -> Any:
            return await script.answer(name, request, context)

        return method

    def make_stream(name: str) -> Any:
        async def method(_: Any, request: Any, context: Any) -> Any:
            async for part in script.stream(name, request, context):
                yield part

        return method

    methods = {name: make_unary(name) for name in unary} | {name: make_stream(name) for name in streams}
    return type("Scripted", (base,), methods)()


JOB_METHODS = (
    *("CreateJob", "GetJob", "ListJobs", "UpdateJob", "CancelJob", "PauseJob", "ResumeJob", "RetryJob", "DeleteJob"),
)
FLEET_METHODS = ("ListSlots", "ListServers", "DrainSlot", "UndrainSlot")
WEBHOOK_METHODS = (
    *("CreateWebhook", "GetWebhook", "ListWebhooks", "UpdateWebhook", "DeleteWebhook", "RotateWebhookSecret"),
    *("TestWebhook", "ListDeliveries", "RedeliverMessage"),
)
JOB_STREAMS = ("WatchJobs", "StreamResults", "DownloadResults")


class StoringDatasets(datasets_pb2_grpc.DatasetsServicer):
    """Keeps uploads like the service does; `break_after` breaks that many streams, each after so many bytes."""

    def __init__(self) -> None:
        self.stored: dict[str, bytearray] = {}
        self.dataset_ids: dict[str, str] = {}
        self.states: dict[str, int] = {}
        self.starts: list[datasets_pb2.UploadStart] = []
        self.break_after: list[int] = []
        self.lost_answers = 0
        self.final_state = dataset_pb2.DATASET_STATE_READY
        self.report = dataset_pb2.InvalidReport()
        self.shown: dict[str, dataset_pb2.Dataset] = {}
        """What `GetDataset` answers for these, whatever is stored."""

    async def UploadDataset(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        dataset_id = ""
        received = 0
        limit = self.break_after.pop(0) if self.break_after else None
        async for message in request_iterator:
            part = message.WhichOneof("part")
            if part == "start":
                dataset_id = await self._start(message.start, context)
            elif part == "data":
                self.stored[dataset_id] += message.data
                received += len(message.data)
            else:
                await self._finish(dataset_id, message.finish, context)
            if limit is not None and received >= limit:
                await UNAVAILABLE.send(context)
        return datasets_pb2.UploadDatasetResponse(dataset=self._dataset(dataset_id))

    async def _start(self, start: datasets_pb2.UploadStart, context: Any) -> str:
        self.starts.append(start)
        dataset_id = start.dataset_id or self.dataset_ids.setdefault(start.request_id, f"ds_{len(self.dataset_ids)}")
        stored = self.stored.setdefault(dataset_id, bytearray())
        self.states.setdefault(dataset_id, dataset_pb2.DATASET_STATE_UPLOADING)
        if start.offset != len(stored):
            mismatch = reason("OFFSET_MISMATCH", offset=str(len(stored)))
            await Abort(code=grpc.StatusCode.FAILED_PRECONDITION, details=(mismatch,)).send(context)
        return dataset_id

    async def _finish(self, dataset_id: str, finish: datasets_pb2.UploadFinish, context: Any) -> None:
        if hashlib.sha256(self.stored[dataset_id]).hexdigest() != finish.sha256:
            await Abort(code=grpc.StatusCode.DATA_LOSS, details=(reason("CHECKSUM_MISMATCH"),)).send(context)
        self.states[dataset_id] = self.final_state
        if self.lost_answers:
            self.lost_answers -= 1
            await UNAVAILABLE.send(context)

    def _dataset(self, dataset_id: str) -> dataset_pb2.Dataset:
        state = dataset_pb2.DatasetState.ValueType(self.states[dataset_id])
        byte_count = len(self.stored[dataset_id])
        return dataset_pb2.Dataset(dataset_id=dataset_id, state=state, byte_count=byte_count, invalid=self.report)

    async def GetUploadStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        if bool(request.dataset_id) == bool(request.request_id):
            await Abort(code=grpc.StatusCode.INVALID_ARGUMENT, text="give either dataset_id or request_id").send(
                context
            )
        dataset_id = request.dataset_id or self.dataset_ids.get(request.request_id, "")
        if dataset_id not in self.stored:
            await Abort(code=grpc.StatusCode.NOT_FOUND, text="no such upload").send(context)
        return datasets_pb2.GetUploadStatusResponse(
            dataset_id=dataset_id,
            stored_bytes=len(self.stored[dataset_id]),
            state=dataset_pb2.DatasetState.ValueType(self.states[dataset_id]),
        )

    async def GetDataset(self, request: Any, context: Any) -> Any:  # noqa: N802
        if (shown := self.shown.get(request.dataset)) is not None:
            return datasets_pb2.GetDatasetResponse(dataset=shown)
        if request.dataset not in self.stored:
            await Abort(code=grpc.StatusCode.NOT_FOUND, text=f"no dataset '{request.dataset}'").send(context)
        return datasets_pb2.GetDatasetResponse(dataset=self._dataset(request.dataset))

    async def ImportDataset(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.stored["ds_import"] = bytearray()
        self.states["ds_import"] = dataset_pb2.DATASET_STATE_VALIDATING
        return datasets_pb2.ImportDatasetResponse(dataset=self._dataset("ds_import"))

    async def DeleteDataset(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.stored.pop(request.dataset_id, None) is None:
            await Abort(code=grpc.StatusCode.NOT_FOUND, text=f"no dataset '{request.dataset_id}'").send(context)
        return datasets_pb2.DeleteDatasetResponse()

    async def ListDatasets(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = sorted(self.stored)
        start = int(request.page_token or 0)
        page = names[start : start + 1]
        more = str(start + 1) if start + 1 < len(names) else ""
        return datasets_pb2.ListDatasetsResponse(datasets=[self._dataset(one) for one in page], next_page_token=more)


@dataclass
class Service:
    """The server, its port, and what its answers come from."""

    server: aio.Server
    port: int
    script: Script
    datasets: StoringDatasets

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


async def start_service() -> Service:
    """Start a server on a free port of the loopback."""
    server, script, datasets = aio.server(), Script(), StoringDatasets()
    jobs = scripted(batch_inference_pb2_grpc.BatchInferenceServicer, script, JOB_METHODS, JOB_STREAMS)
    fleet = scripted(fleet_pb2_grpc.FleetServicer, script, FLEET_METHODS, ("WatchFleet",))
    batch_inference_pb2_grpc.add_BatchInferenceServicer_to_server(jobs, server)
    datasets_pb2_grpc.add_DatasetsServicer_to_server(datasets, server)
    fleet_pb2_grpc.add_FleetServicer_to_server(fleet, server)
    webhooks = scripted(webhooks_pb2_grpc.WebhooksServicer, script, WEBHOOK_METHODS)
    webhooks_pb2_grpc.add_WebhooksServicer_to_server(webhooks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return Service(server, port, script, datasets)
