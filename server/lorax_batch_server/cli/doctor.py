"""`lorax-batch doctor`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, say
from lorax_batch_server.cli.serve import (
    AllowInsecureOption,
    AuthOption,
    ListenOption,
    OperatorKeyFileOption,
    RoleOption,
    SecretsKeyFileOption,
    ServerOption,
    TlsCertOption,
    TlsClientCaOption,
    TlsKeyOption,
)

if TYPE_CHECKING:
    from lorax_batch_server.doctor.finding import Finding


def doctor(
    role: RoleOption = None,
    listen: ListenOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="As of `serve`.")] = None,
    database_url: Annotated[str | None, typer.Option(help="As of `serve`.")] = None,
    object_store: Annotated[str | None, typer.Option(metavar="URL", help="As of `serve`.")] = None,
    server: ServerOption = [],
    fleet: Annotated[Path | None, typer.Option(help="As of `serve`.")] = None,
    config: Annotated[Path | None, typer.Option(help="The TOML file with settings of `serve`.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="As of `serve`.")] = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_client_ca: TlsClientCaOption = None,
    secrets_key_file: SecretsKeyFileOption = None,
    auth: AuthOption = None,
    operator_key_file: OperatorKeyFileOption = None,
    allow_insecure: AllowInsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check all that a service with these settings needs, and say what to do; exit 1 when something is wrong.

    Reads the same options, variables and file as `serve`. Writes nothing but one probe object, which it deletes.
    """
    given = {
        "role": role,
        "listen": listen,
        "data_dir": data_dir,
        "database_url": database_url,
        "object_store": object_store,
        "servers": server or None,
        "fleet": fleet,
        "catalogue": catalogue,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "secrets_key_file": secrets_key_file,
        "auth": auth,
        "operator_key_file": operator_key_file,
        "allow_insecure": allow_insecure or None,
    }
    import asyncio

    if asyncio.run(_examine(config, given, as_json=as_json)):
        raise typer.Exit(ExitCode.FAILED)


async def _examine(config: Path | None, given: dict[str, Any], *, as_json: bool) -> bool:
    """Print findings as they come; return whether something is wrong."""
    from lorax_batch_scheduler.errors import ConfigurationError

    from lorax_batch_server.cli.serve import other_variables
    from lorax_batch_server.doctor.examination import CONFIGURATION, examine
    from lorax_batch_server.doctor.finding import Verdict, wrong
    from lorax_batch_server.logs import set_up_logs
    from lorax_batch_server.settings import load_settings

    try:
        settings = load_settings(config, **given)
    except ConfigurationError as error:
        _show(wrong(CONFIGURATION, str(error), "correct it: nothing else was looked at"), as_json=as_json)
        return True
    set_up_logs(level="warning", log_format=settings.log_format)
    failed = False
    async for finding in examine(settings, os.environ, other_variables()):
        _show(finding, as_json=as_json)
        failed = failed or finding.verdict is Verdict.ERROR
    return failed


def _show(finding: "Finding", *, as_json: bool) -> None:
    if as_json:
        print_json(finding)
        return
    say(f"{finding.verdict.value:<8} {finding.check}: {finding.message}")
    if finding.advice:
        say(f"{'':8} -> {finding.advice}")
