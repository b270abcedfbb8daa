"""`--tls`, `--ca`, `--cert` and `--key`: put beside every `--target`, and read where a connection is opened."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    import grpc
    from lorax_batch_client import Tls

_TARGET: Final = "target"
_GIVEN: ContextVar["Tls | None"] = ContextVar("tls", default=None)
VARIABLES: Final = frozenset(f"LORAX_BATCH_TARGET_{name}" for name in ("TLS", "CA", "CERT", "KEY"))


def _options(
    target_tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            envvar="LORAX_BATCH_TARGET_TLS",
            help="Talk TLS to the service, and trust public authorities; the three below imply it.",
        ),
    ] = False,
    target_ca: Annotated[
        Path | None,
        typer.Option("--ca", envvar="LORAX_BATCH_TARGET_CA", help="Trust the authorities of this PEM file instead."),
    ] = None,
    target_cert: Annotated[
        Path | None,
        typer.Option(
            "--cert", envvar="LORAX_BATCH_TARGET_CERT", help="Show this certificate to a service that asks for one."
        ),
    ] = None,
    target_key: Annotated[
        Path | None, typer.Option("--key", envvar="LORAX_BATCH_TARGET_KEY", help="The private key of --cert.")
    ] = None,
) -> "Tls | None":
    """Return what these options say; a command that has `--target` gets the same ones.

    Parameters of commands may be called `key` too, so these are not.
    """
    from lorax_batch_client import Tls

    given = target_tls or target_ca or target_cert or target_key
    return Tls(ca=target_ca, cert=target_cert, key=target_key) if given else None


_PARAMETERS: Final = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(_options).parameters.values()
)


def add_tls_options(application: typer.Typer) -> None:
    """Give the options to each command that has `--target`, and to those of the groups below."""
    for group in application.registered_groups:
        if group.typer_instance is not None:
            add_tls_options(group.typer_instance)
    for command in application.registered_commands:
        if command.callback is not None and _TARGET in inspect.signature(command.callback).parameters:
            command.callback = _with_options(command.callback)


def given_credentials() -> "grpc.ChannelCredentials | None":
    """Return what the command that runs now was given; None: a plain connection."""
    from lorax_batch_client.errors import CertificateError

    tls = _GIVEN.get()
    try:
        return tls.credentials() if tls is not None else None
    except CertificateError as error:
        raise CommandError(f"--{error}") from error


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    names = {parameter.name for parameter in _PARAMETERS}

    @functools.wraps(command)
    def run(**given: Any) -> Any:  # noqa: ANN401  # whatever the command takes
        before = _GIVEN.set(_options(**{name: given.pop(name) for name in names}))
        try:
            return command(**given)
        finally:
            _GIVEN.reset(before)

    own = inspect.signature(command)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *_PARAMETERS])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in run.__signature__.parameters.values()}  # type: ignore[attr-defined]
    return run
