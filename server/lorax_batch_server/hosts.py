"""The hosts of servers that the settings name."""

from pathlib import Path

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.ports.server_host import ServerHost
from lorax_batch_scheduler.server_hosts.command import CommandHost
from lorax_batch_scheduler.server_hosts.command.state_lock import prepare_state
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
    plan, kubernetes = _read_fleet(settings.fleet)
    slots = parse_servers(settings.servers, default_model=settings.default_server_model)
    hosts: list[ServerHost] = [StaticHost([*slots, *plan.static])]
    if plan.command:
        state_dir = directory.path / "command"
        prepare_state(state_dir)
        hosts.append(CommandHost(plan.command, state_dir=state_dir, clock=clock))
    if kubernetes is not None:
        hosts.append(kubernetes_host(kubernetes, clock=clock))
    ids = [slot.slot_id for host in hosts for slot in host.slots]
    twice = sorted({slot_id for slot_id in ids if ids.count(slot_id) > 1})
    if twice:
        raise ConfigurationError(f"slot {', '.join(twice)} is there twice: give each slot an id of its own")
    return hosts


def check_fleet(settings: Settings) -> None:
    """Read the fleet file and forget it: nothing is begun with one that can't be used. Raises `ConfigurationError`."""
    _read_fleet(settings.fleet)


def _read_fleet(path: Path | None) -> tuple[FleetPlan, KubernetesFleet | None]:
    if path is None:
        return FleetPlan(), None
    plan = load_fleet(path)
    if plan.kubernetes is None:
        return plan, None
    try:
        return plan, read_kubernetes_fleet(plan.kubernetes)
    except ConfigurationError as error:
        raise ConfigurationError(f"fleet file '{path}': {error}") from error
