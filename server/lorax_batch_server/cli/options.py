"""Options that several commands share."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.api_key import chosen_key
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.tls_options import given_credentials

if TYPE_CHECKING:
    from lorax_batch_client import Client

TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="LORAX_BATCH_TARGET",
        metavar="HOST:PORT[,HOST:PORT...]",
        help="The service to talk to; of several replicas, another one when the first can't be reached.",
    ),
]
DEFAULT_TARGET = "localhost:50051"
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
LabelOption = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]


def open_client(target: str, *, sleep: Callable[[float], object] = time.sleep) -> "Client":
    """Return a client of the service at `target`."""
    from lorax_batch_client import Client

    return Client(checked_target(target), credentials=given_credentials(), api_key=chosen_key(), sleep=sleep)


def checked_target(target: str) -> str:
    """Return the target when it can be one."""
    from lorax_batch_client.channel import check_target

    try:
        return check_target(target)
    except ValueError as error:
        raise CommandError(f"--target: {error}") from error


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Return the labels that `key=value` pairs give."""
    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise CommandError(f"--label: '{pair}' is not of the form key=value")
        labels[key] = value
    return labels
