"""A gRPC listener with certificates, and calls of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lorax_batch_client import ClientError, Tls
from lorax_batch_client.channel import channel_options
from lorax_batch_client.error_mapping import error_from_rpc
from lorax_batch_server.server_certificates import ServerCertificates


@asynccontextmanager
async def listening(certificates: ServerCertificates | None) -> AsyncIterator[int]:
    """Yield the port of a listener on loopback; None: it talks plain."""
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if certificates is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", certificates.credentials())
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def ask(port: int, tls: Tls | None, host: str = "localhost") -> ClientError | None:
    """Call it over a new connection; return what a caller of the client would get, None when all went well."""
    target = f"{host}:{port}"
    options = [*channel_options(target), ("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.secure_channel(target, tls.credentials(), options)
        if tls
        else grpc.aio.insecure_channel(target, options)
    )
    async with channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.RpcError as error:
            return error_from_rpc(error, target)
    return None
