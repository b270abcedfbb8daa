"""Asks every LoRAX server that is always there how it is, and reads the fleet file."""

import asyncio
from collections.abc import AsyncIterator

from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.errors import ConfigurationError, ServerUnreachableError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.lorax_servers.probe import Health, ServerProbe
from lorax_batch_scheduler.server_hosts.fleet_file import FleetPlan, load_fleet

from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.server_spec import parse_servers
from lorax_batch_server.settings import Settings

FLEET, CATALOGUE = "fleet", "catalogue"


async def check_servers(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found of the catalogue, the fleet file and each fixed server."""
    if settings.catalogue is not None:
        yield _check_catalogue(settings)
    try:
        plan = load_fleet(settings.fleet) if settings.fleet is not None else FleetPlan()
    except ConfigurationError as error:
        yield wrong(FLEET, str(error), "correct the fleet file; docs/fleet-file.md lists its fields")
        plan = FleetPlan()
    slots = [*parse_servers(settings.servers, default_model=settings.default_server_model), *plan.static]
    if not slots and not plan.command and plan.kubernetes is None and settings.role.runs_jobs:
        yield warning(FLEET, "there is no server to run rows on", "give --server URL, or slots with --fleet FILE")
    elif settings.fleet is not None:
        cluster = ", and a Kubernetes cluster" if plan.kubernetes is not None else ""
        yield ok(FLEET, f"{len(plan.static)} fixed servers, {len(plan.command)} slots of commands{cluster}")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_check_server(slot, settings)) for slot in slots]
    for answer in asked:
        yield answer.result()


def _check_catalogue(settings: Settings) -> Finding:
    try:
        Catalogue.load(settings.catalogue, accept_unlisted=settings.accept_unlisted_models)
    except ConfigurationError as error:
        return wrong(CATALOGUE, str(error), "correct the catalogue file")
    return ok(CATALOGUE, f"'{settings.catalogue}' can be read")


async def _check_server(slot: Slot, settings: Settings) -> Finding:
    check = f"server {slot.url}"
    try:
        probe = ServerProbe(slot.url, tls=settings.client_tls("server"))
        limits = await probe.read_limits()
    except ConfigurationError as error:
        return wrong(check, str(error), "correct that file, or the setting")
    except ServerUnreachableError as error:
        advice = "start it, or correct its URL; rows wait until it answers"
        return warning(check, str(error), advice)
    model = slot.declared_model or limits.model_id or slot.default_model
    if not model:
        return wrong(check, "it does not tell its model", f"name it: --server {slot.url},model=NAME")
    health = await probe.health()
    if health is not Health.WELL:
        return warning(check, f"it serves {model}, but /health says that it is {health.lower()}", "look at its log")
    return ok(check, f"it serves {model}, {limits.max_concurrent_requests} requests at a time")
