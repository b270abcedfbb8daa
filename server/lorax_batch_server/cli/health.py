"""`lorax-batch health`: a probe for containers and scripts."""

from typing import Final

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, checked_target
from lorax_batch_server.cli.output import print_json
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.tls_options import given_credentials

TIMEOUT_SECONDS: Final = 4.0
"""Below the 5 s that a container gives its health check."""


def health(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Ask the service whether it takes calls; exit 3 when it does not."""
    from lorax_batch_client.channel import split_targets

    if len(split_targets(checked_target(target))) > 1:
        raise CommandError(f"--target: '{target}' names several services, but this asks one: give one of them")
    status = _ask(target)
    if as_json:
        print_json({"target": target, "status": status})
    else:
        typer.echo(f"{target} is {status.replace('_', ' ')}")
    if status != "serving":
        raise typer.Exit(ExitCode.UNREACHABLE)


def _ask(target: str) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from lorax_batch_client.channel import channel_options
    from lorax_batch_client.error_mapping import error_from_rpc

    options, credentials = channel_options(target), given_credentials()
    opened = (
        grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
    )
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise error_from_rpc(error, target) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)).lower()
