"""The tree of commands."""

from importlib.metadata import version
from typing import Annotated

import typer

from lorax_batch_server.cli import (
    backup,
    datasets,
    demo,
    doctor,
    fleet,
    health,
    jobs,
    keys,
    migrate,
    plan,
    rehearse,
    run,
    secrets,
    serve,
    simulator,
    store,
    tenants,
    validate,
    webhooks,
)
from lorax_batch_server.cli.api_key import add_key_options
from lorax_batch_server.cli.reporting_group import ReportingGroup
from lorax_batch_server.cli.tls_options import add_tls_options

application = typer.Typer(
    cls=ReportingGroup,
    help="Offline batch inference over LoRAX servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes 0.2 s to import
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lorax-batch {version('lorax-batch')}")
        raise typer.Exit


@application.callback()
def every_command(
    version: Annotated[  # its callback answers
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Stand before every command."""


application.command("demo", short_help="Run a sample on simulated servers.")(demo.demo)
application.command("run", short_help="Run one dataset, without a service.")(run.run)
application.command("serve", short_help="Run the service.")(serve.serve)
application.command("migrate", short_help="Bring a PostgreSQL's schema up to date.")(migrate.migrate)
application.command("backup", short_help="Copy all that a service keeps to a folder.")(backup.backup)
application.command("restore", short_help="Make a service's stores of a backup.")(backup.restore)
application.command("health", short_help="Ask a service whether it takes calls.")(health.health)
application.command("doctor", short_help="Check all that a service needs.")(doctor.doctor)
application.command("plan", short_help="Replay a trace of jobs in virtual time.")(plan.plan)
application.command("rehearse", short_help="Run a trace on simulated servers.")(rehearse.rehearse)
application.command("simulator", short_help="Run a simulated LoRAX server.", **simulator.SETTINGS)(simulator.simulator)
application.command("validate", short_help="Check a dataset offline.")(validate.validate)
application.add_typer(datasets.commands, name="datasets", help="Upload, list, show and delete datasets.")
application.add_typer(jobs.commands, name="jobs", help="Create, watch and control jobs, and get their results.")
application.add_typer(store.commands, name="store", help="Look after the service's object store.")
application.add_typer(fleet.commands, name="fleet", help="Show where LoRAX servers run and how they do.")
application.add_typer(secrets.commands, name="secrets", help="Make and rotate the keys that tokens are sealed with.")
application.add_typer(tenants.commands, name="tenants", help="Say who shares the service, and what each may use.")
application.add_typer(keys.commands, name="keys", help="Make, list and revoke API keys.")
application.add_typer(webhooks.commands, name="webhooks", help="Have state changes of jobs told to URLs.")
add_key_options(application)
add_tls_options(application)
