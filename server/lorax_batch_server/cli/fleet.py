"""`lorax-batch fleet`."""

import typer

from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import print_json, print_table

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def slots(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the places where LoRAX servers can run."""
    with open_client(target) as client:
        found = list(client.list_slots())
    if as_json:
        for slot in found:
            print_json(slot)
        return
    columns = ("SLOT", "KIND", "URL", "MODEL", "SERVER", "REASON")
    print_table(
        columns, ((one.slot_id, one.kind, one.url, one.declared_model, one.server_id, one.reason) for one in found)
    )


@commands.command()
def servers(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List the LoRAX servers, what they run and how they do."""
    with open_client(target) as client:
        found = list(client.list_servers())
    if as_json:
        for server in found:
            print_json(server)
        return
    columns = ("SERVER", "URL", "STATE", "MODEL", "IN FLIGHT", "LIMIT", "ROWS/S", "TOKENS/S", "ADAPTERS", "REASON")
    print_table(
        columns,
        (
            (
                *(one.server_id, one.url, one.state, one.base_model_id or one.model_id, one.in_flight),
                *(one.in_flight_limit, one.rows_per_second, one.tokens_per_second, len(one.warm_adapters), one.reason),
            )
            for one in found
        ),
    )
