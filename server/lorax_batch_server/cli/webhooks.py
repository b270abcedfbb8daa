"""`lorax-batch webhooks`."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import fields_of, print_json, print_pairs, print_table, say, show_count
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Delivery, Webhook, WebhookWithSecret

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK", help="A webhook id, as `webhooks list` shows it.")]
EventOption = Annotated[
    list[str], typer.Option("--event", metavar="TYPE", help="As job.succeeded; may be repeated; none: all.")
]
DescriptionOption = Annotated[str | None, typer.Option(help="For people.")]


@commands.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted to.")],
    event: EventOption = [],
    description: DescriptionOption = None,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Have state changes of jobs told to a URL from now on; prints the secret, this once."""
    with open_client(target) as client:
        created = client.create_webhook(url, event_types=event, description=description or "")
    _print_with_secret(created, as_json)


@commands.command("list")
def list_(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the webhooks and how they do."""
    with open_client(target) as client:
        found = list(client.list_webhooks())
    if as_json:
        for webhook in found:
            print_json(webhook)
        return
    print_table(
        ("WEBHOOK", "URL", "EVENTS", "STATE", "WAITING", "REASON"),
        (
            (each.webhook_id, each.url, " ".join(each.event_types) or "all", each.state, each.waiting, each.reason)
            for each in found
        ),
    )


@commands.command()
def show(webhook: WebhookArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Show one webhook."""
    with open_client(target) as client:
        _print_webhook(client.get_webhook(webhook), as_json)


@commands.command()
def update(
    webhook: WebhookArgument,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Where messages are posted to from now on.")] = None,
    event: EventOption = [],
    all_events: Annotated[bool, typer.Option("--all-events", help="Tell every type of event.")] = False,
    description: DescriptionOption = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Send, what was missed too; or send nothing.")
    ] = None,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Change a webhook."""
    if event and all_events:
        raise CommandError("--event and --all-events exclude each other: give one of them")
    types = event if event or all_events else None
    if url is None and types is None and description is None and enable is None:
        raise CommandError("nothing to change: give --url, --event, --all-events, --description, --enable or --disable")
    with open_client(target) as client:
        changed = client.update_webhook(webhook, url=url, event_types=types, description=description, enabled=enable)
    _print_webhook(changed, as_json)


@commands.command()
def delete(webhook: WebhookArgument, target: TargetOption = DEFAULT_TARGET) -> None:
    """Delete a webhook with its log."""
    with open_client(target) as client:
        client.delete_webhook(webhook)
    typer.echo(f"{webhook} is deleted")


@commands.command()
def rotate(
    webhook: WebhookArgument,
    keep_old_hours: Annotated[
        float, typer.Option(min=0.0, max=720.0, help="How long messages are signed with the old secret too.")
    ] = 24.0,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Make a new secret and print it, this once."""
    with open_client(target) as client:
        rotated = client.rotate_webhook_secret(webhook, keep_old_for=timedelta(hours=keep_old_hours))
    _print_with_secret(rotated, as_json)


@commands.command("test")
def try_out(webhook: WebhookArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Send a message of the type webhook.test now and say what came of it; exit code 1 when it was not taken."""
    with open_client(target) as client:
        delivery = client.test_webhook(webhook)
    if as_json:
        print_json(delivery)
    else:
        milliseconds = round(delivery.latency.total_seconds() * 1_000)
        outcome = delivery.error or f"was taken with status {delivery.status}"
        say(f"{delivery.message_id}: {outcome} ({milliseconds:,} ms)")
    if delivery.error:
        raise typer.Exit(ExitCode.FAILED)


@commands.command()
def deliveries(
    webhook: WebhookArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """List what waits to be delivered, and what was delivered or given up last."""
    with open_client(target) as client:
        found = [one for one, _ in zip(client.list_deliveries(webhook), range(limit), strict=False)]
    if as_json:
        for delivery in found:
            print_json(delivery)
        return
    print_table(
        ("MESSAGE", "EVENT", "STATE", "TRIES", "STATUS", "MS", "LAST TRY", "NEXT TRY", "ERROR"),
        (_delivery_row(delivery) for delivery in found),
    )


@commands.command()
def redeliver(
    webhook: WebhookArgument,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message id, as `webhooks deliveries` shows it.")],
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Send a message again."""
    with open_client(target) as client:
        delivery = client.redeliver_message(webhook, message)
    if as_json:
        print_json(delivery)
    else:
        typer.echo(
            f"{delivery.message_id} is sent again; `lorax-batch webhooks deliveries {webhook}` tells how it went"
        )


def _print_webhook(webhook: "Webhook", as_json: bool) -> None:
    if as_json:
        print_json(webhook)
        return
    print_pairs(
        (
            ("webhook", webhook.webhook_id),
            ("url", webhook.url),
            ("events", " ".join(webhook.event_types) or "all"),
            ("description", webhook.description),
            ("state", webhook.state),
            ("reason", webhook.reason),
            ("waiting", show_count(webhook.waiting, "message") if webhook.waiting else None),
            ("failing since", webhook.failing_since),
            ("next try", webhook.next_try_time),
            ("old secret until", webhook.old_secret_until),
        )
    )


def _print_with_secret(given: "WebhookWithSecret", as_json: bool) -> None:
    if as_json:
        print_json({**fields_of(given.webhook), "secret": given.secret})
        return
    _print_webhook(given.webhook, as_json=False)
    print_pairs((("secret", given.secret),))
    typer.echo("the secret is shown only now: keep it where the receiver verifies signatures", err=True)


def _delivery_row(delivery: "Delivery") -> tuple[object, ...]:
    return (
        delivery.message_id,
        delivery.event_type,
        delivery.state,
        delivery.attempts,
        delivery.status or "-",
        round(delivery.latency.total_seconds() * 1_000),
        delivery.last_try_time,
        delivery.next_try_time,
        delivery.error,
    )
