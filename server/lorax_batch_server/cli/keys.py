"""`lorax-batch keys`."""

from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.deadline import parse_span
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import fields_of, print_json, print_table, show

if TYPE_CHECKING:
    from lorax_batch_client import Key

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class RoleChoice(Enum):
    """What a key may do; each may do what the ones before it may."""

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"


@commands.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is; see `tenants create`.")] = "default",
    role: Annotated[
        RoleChoice, typer.Option(help="read: see; submit: also make jobs; operate: all tenants, the fleet, keys.")
    ] = RoleChoice.SUBMIT,
    name: Annotated[str, typer.Option(help="For people: who has it, what for.")] = "",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="`12h`, `90d`, or a time like 2030-01-31T12:00Z.  [default: never]")
    ] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Make a key and print its secret, this once: nobody can tell it again."""
    from lorax_batch_client import Role

    with open_client(target) as client:
        made = client.create_key(
            tenant,
            Role(role.value),
            name=name,
            expires=parse_span(expires, option="--expires", sense="from now") if expires else None,
        )
    if as_json:
        print_json({**fields_of(made.key), "secret": made.secret})
        return
    # Apart, so that a program gets the secret alone: `lorax-batch keys create > FILE`.
    typer.echo(f"{made.key.key_id}: {_told(made.key)}; its secret, which is not stored anywhere:", err=True)
    typer.echo(made.secret)


@commands.command("list")
def list_keys(
    tenant: Annotated[str, typer.Option(help="Only keys of that tenant.")] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """List keys without their secrets, newest first; revoked and expired ones too."""
    with open_client(target) as client:
        found = list(client.list_keys(tenant=tenant))
    if as_json:
        for key in found:
            print_json(key)
        return
    columns = ("KEY", "TENANT", "ROLE", "NAME", "STATE", "CREATED")
    print_table(columns, ((one.key_id, one.tenant, one.role, one.name, _state(one), one.create_time) for one in found))


@commands.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key id, as `keys list` shows it; not the secret.")],
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Make a key good for nothing, for good; streams that it has opened end within seconds."""
    with open_client(target) as client:
        revoked = client.revoke_key(key)
    if as_json:
        print_json(revoked)
    else:
        typer.echo(f"{revoked.key_id} is {_state(revoked)}")


def _told(key: "Key") -> str:
    expires = f"until {show(key.expire_time)}" if key.expire_time is not None else "which never expires"
    return f"a key of the tenant {key.tenant} with the role {key.role.value}, {expires}"


def _state(key: "Key") -> str:
    if key.revoke_time is not None:
        return f"revoked at {show(key.revoke_time)}"
    if key.expire_time is None:
        return "good"
    return f"{'expired at' if key.expire_time <= datetime.now(UTC) else 'good until'} {show(key.expire_time)}"
