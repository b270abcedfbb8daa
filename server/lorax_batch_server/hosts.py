"""The hosts of servers that the settings name."""

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.ports.server_host import ServerHost
from lorax_batch_scheduler.server_hosts.command import CommandHost
from lorax_batch_scheduler.server_hosts.fleet_file import FleetPlan, load_fleet
from lorax_batch_scheduler.server_hosts.static_host import StaticHost

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.server_spec import parse_servers
from lorax_batch_server.settings import Settings


def make_hosts(settings: Settings, directory: DataDirectory, clock: Clock) -> list[ServerHost]:
    """Return a host for each kind of fleet that is configured.

    Raises:
        ConfigurationError: the fleet file can't be used: names the entry and the field.
    """
    plan = load_fleet(settings.fleet) if settings.fleet is not None else FleetPlan()
    slots = parse_servers(settings.servers, default_model=settings.default_server_model)
    hosts: list[ServerHost] = [StaticHost([*slots, *plan.static])]
    if plan.command:
        hosts.append(CommandHost(plan.command, state_dir=directory.path / "servers", clock=clock))
    return hosts
