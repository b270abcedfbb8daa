"""`lorax-batch fleet`."""

from typing import Annotated

import typer

from lorax_batch_server.cli.fleet_top import top
from lorax_batch_server.cli.fleet_view import FleetTeller, print_servers, print_slots
from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.outage_notice import OutageNotice
from lorax_batch_server.cli.output import event_name, fields_of, print_json, say

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
commands.command()(top)

SlotArgument = Annotated[str, typer.Argument(metavar="SLOT", help="A slot id, as `fleet slots` lists them.")]


@commands.command()
def slots(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the places where LoRAX servers can run, and why each runs what it runs."""
    with open_client(target) as client:
        found = list(client.list_slots())
    if not as_json:
        print_slots(found)
        return
    for slot in found:
        print_json(slot)


@commands.command()
def servers(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the LoRAX servers, what they run and how they do."""
    with open_client(target) as client:
        found = list(client.list_servers())
    if not as_json:
        print_servers(found)
        return
    for server in found:
        print_json(server)


@commands.command()
def drain(
    slot: SlotArgument,
    reason: Annotated[str, typer.Option(help="For people: who looks at the fleet, or waits for it.")] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Take a slot out of service: rows in flight there end, no other rows are sent."""
    with open_client(target) as client:
        drained = client.drain_slot(slot, reason=reason)
    if as_json:
        print_json(drained)
        return
    why = f": {drained.drain_reason}" if drained.drain_reason else ""
    say(f"{drained.slot_id} is drained{why}; `lorax-batch fleet undrain {drained.slot_id}` puts it back")


@commands.command()
def undrain(slot: SlotArgument, as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Put a slot back into service."""
    with open_client(target) as client:
        undrained = client.undrain_slot(slot)
    if as_json:
        print_json(undrained)
    else:
        typer.echo(f"{undrained.slot_id} is in service")


@commands.command()
def watch(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """Tell what changes in the fleet, until Ctrl-C; a service that goes away is waited for."""
    teller, outage = FleetTeller(), OutageNotice(target)
    with open_client(target, sleep=outage.wait) as client:
        for event in client.watch_fleet():
            outage.over()
            if as_json:
                print_json({"event": event_name(event), **fields_of(event)})
                continue
            for line in teller.lines(event):
                say(line)
