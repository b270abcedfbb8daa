"""`--tls`, `--ca`, `--cert` and `--key`: put beside every `--target`, and read where a connection is opened."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.target_options import add_target_options

if TYPE_CHECKING:
    import grpc
    from lorax_batch_client import Tls

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


def add_tls_options(application: typer.Typer) -> None:
    """Give the options to each command that has `--target`."""
    add_target_options(application, list(inspect.signature(_options).parameters.values()), _given)


def given_tls() -> "Tls | None":
    """Return the files that the command that runs now was given."""
    return _GIVEN.get()


def given_credentials() -> "grpc.ChannelCredentials | None":
    """Return what the command that runs now was given; None: a plain connection."""
    from lorax_batch_client.errors import CertificateError

    tls = _GIVEN.get()
    try:
        return tls.credentials() if tls is not None else None
    except CertificateError as error:
        raise CommandError(f"--{error}") from error


@contextmanager
def _given(**options: Any) -> Iterator[None]:  # noqa: ANN401 - those of `_options`
    before = _GIVEN.set(_options(**options))
    try:
        yield
    finally:
        _GIVEN.reset(before)
