"""The hosts of servers that the settings name."""

from collections.abc import Mapping
from typing import Any

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.ports.server_host import ServerHost
from lorax_batch_scheduler.server_hosts.command import CommandHost
from lorax_batch_scheduler.server_hosts.fleet_file import FleetPlan, load_fleet
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesFleet, kubernetes_host, read_kubernetes_fleet
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
        hosts.append(CommandHost(plan.command, state_dir=directory.path / "command", clock=clock))
    if plan.kubernetes is not None:
        hosts.append(kubernetes_host(_kubernetes_fleet(plan.kubernetes, f"fleet file '{settings.fleet}'"), clock=clock))
    ids = [slot.slot_id for host in hosts for slot in host.slots]
    twice = sorted({slot_id for slot_id in ids if ids.count(slot_id) > 1})
    if twice:
        raise ConfigurationError(f"slot {', '.join(twice)} is there twice: give each slot an id of its own")
    return hosts


def _kubernetes_fleet(table: Mapping[str, Any], source: str) -> KubernetesFleet:
    try:
        return read_kubernetes_fleet(table)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error
