"""`lorax-batch health`: a probe for containers and scripts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, checked_target
from lorax_batch_server.cli.output import print_json
from lorax_batch_server.cli.own_stores import ConfigOption
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.tls_options import given_credentials, given_tls

if TYPE_CHECKING:
    import grpc

TIMEOUT_SECONDS: Final = 4.0
"""Below the 5 s that a container gives its health check."""


OwnOption = Annotated[
    bool,
    typer.Option(
        "--own",
        help="Ask the service that has these settings (LORAX_BATCH_LISTEN, LORAX_BATCH_TLS_CERT, ...), and trust its "
        "own certificate: for the probe of a container.",
    ),
]


def health(
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
    own: OwnOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask the service whether it takes calls; exit 3 when it does not."""
    from lorax_batch_client.channel import split_targets

    if own:
        target, status = _ask_own(config)
    elif len(split_targets(checked_target(target))) > 1:
        raise CommandError(f"--target: '{target}' names several services, but this asks one: give one of them")
    else:
        status = _ask(target, given_credentials())
    if as_json:
        print_json({"target": target, "status": status})
    else:
        typer.echo(f"{target} is {status.replace('_', ' ')}")
    if status != "serving":
        raise typer.Exit(ExitCode.UNREACHABLE)


def _ask_own(config: Path | None) -> tuple[str, str]:
    """Return the target of the service beside us, and its status."""
    from lorax_batch_server.cli.own_listener import own_listener
    from lorax_batch_server.settings import load_settings

    listener = own_listener(load_settings(config), given_tls())
    return listener.target, _ask(listener.target, listener.credentials, listener.options)


def _ask(target: str, credentials: "grpc.ChannelCredentials | None", more: Sequence[tuple[str, Any]] = ()) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from lorax_batch_client.channel import channel_options
    from lorax_batch_client.error_mapping import error_from_rpc

    options = [*channel_options(target), *more]
    opened = (
        grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
    )
    with opened as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise error_from_rpc(error, target) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)).lower()
