"""`lorax-batch serve`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from lorax_batch_server.cli.api_key import KEY_FILE_VARIABLE, KEY_VARIABLE

ServerOption = Annotated[
    list[str],
    typer.Option("--server", metavar="URL[,model=NAME][,max-in-flight=N]", help="A LoRAX server; may be repeated."),
]


RoleOption = Annotated[
    str | None,
    typer.Option(
        metavar="all|api|scheduler",
        help="What this process does; api and scheduler need --database-url and --object-store, shared by all.",
    ),
]

ListenOption = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to serve gRPC.")]
TlsCertOption = Annotated[Path | None, typer.Option(help="Talk TLS, and show callers this certificate (PEM).")]
TlsKeyOption = Annotated[Path | None, typer.Option(help="The private key of --tls-cert.")]
TlsClientCaOption = Annotated[
    Path | None, typer.Option(help="Callers must show a certificate of an authority in this PEM file.")
]
SecretsKeyFileOption = Annotated[
    Path | None, typer.Option(help="The keys that tokens are sealed with; see docs/security.md.")
]
AuthOption = Annotated[
    str | None, typer.Option(metavar="off|keys", help="keys: every call needs an API key (see `keys create`).")
]
OperatorKeyFileOption = Annotated[
    Path | None, typer.Option(help="An operator's first key; made when there is no such file.")
]
AllowInsecureOption = Annotated[
    bool, typer.Option("--allow-insecure", help="Listen beyond loopback without TLS or without knowing who calls.")
]


def serve(
    role: RoleOption = None,
    listen: ListenOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded PostgreSQL and object store live.")] = None,
    database_url: Annotated[str | None, typer.Option(help="A PostgreSQL of yours instead of the embedded one.")] = None,
    object_store: Annotated[str | None, typer.Option(metavar="URL", help="A directory or s3://bucket/prefix.")] = None,
    server: ServerOption = [],
    fleet: Annotated[
        Path | None, typer.Option(help="A TOML file with slots on which LoRAX servers are started and stopped.")
    ] = None,
    unfit_jobs: Annotated[
        str | None, typer.Option(help="Jobs whose server has room on no slot: `wait` (default) or `fail`.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="A TOML file with further base models.")] = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    tls_client_ca: TlsClientCaOption = None,
    secrets_key_file: SecretsKeyFileOption = None,
    auth: AuthOption = None,
    operator_key_file: OperatorKeyFileOption = None,
    allow_insecure: AllowInsecureOption = False,
    accept_unlisted_models: Annotated[
        bool, typer.Option("--accept-unlisted-models", help="Run base models that the catalogue does not know.")
    ] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Serve Prometheus metrics.")] = None,
    import_root: Annotated[list[Path], typer.Option(help="Datasets may be imported from here; repeatable.")] = [],
) -> None:
    """Run the service: gRPC, scheduler, embedded PostgreSQL and a local object store unless told otherwise.

    Settings come from options, then `LORAX_BATCH_*` variables, then the file of --config, then defaults.
    """
    given = {
        "role": role,
        "listen": listen,
        "data_dir": data_dir,
        "database_url": database_url,
        "object_store": object_store,
        "servers": server or None,
        "fleet": fleet,
        "unfit_jobs": unfit_jobs,
        "catalogue": catalogue,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "secrets_key_file": secrets_key_file,
        "auth": auth,
        "operator_key_file": operator_key_file,
        "allow_insecure": allow_insecure or None,
        "accept_unlisted_models": accept_unlisted_models or None,
        "log_level": log_level,
        "metrics_port": metrics_port,
        "import_roots": [str(root.absolute()) for root in import_root] or None,
    }
    import uvloop

    from lorax_batch_server.allocator import limit_held_memory
    from lorax_batch_server.app import serve as run_service
    from lorax_batch_server.logs import set_up_logs
    from lorax_batch_server.redacted_output import redact_crashes
    from lorax_batch_server.settings import PREFIX, load_settings, unknown_variables

    settings = load_settings(config, **given)
    set_up_logs(level=settings.log_level, log_format=settings.log_format)
    redact_crashes()
    # No process that this one starts needs it.
    os.environ.pop(f"{PREFIX}SECRETS_KEY", None)
    for name in unknown_variables(os.environ, other_variables()):
        typer.echo(f"lorax-batch: variable {name} is no setting and has no effect", err=True)
    limit_held_memory()
    # Whoever started us reads this line as the sign that the service can be called.
    uvloop.run(run_service(settings, on_ready=lambda address: typer.echo(f"listening on {address}")))


def other_variables() -> frozenset[str]:
    """Return the variables with our prefix that are no settings."""
    from lorax_batch_scheduler.failpoints import LOG_VARIABLE, VARIABLE
    from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE
    from lorax_batch_scheduler.postgres.migrations import DIRECTORY_VARIABLE

    from lorax_batch_server.cli.tls_options import VARIABLES as TLS_VARIABLES

    callers = {"LORAX_BATCH_TARGET", KEY_VARIABLE, KEY_FILE_VARIABLE}
    return TLS_VARIABLES | callers | {BIN_VARIABLE, DIRECTORY_VARIABLE, VARIABLE, LOG_VARIABLE}
