"""Servers as processes of this host: one GPU, a share of one, or several, for each slot."""

from lorax_batch_scheduler.server_hosts.command.host import CommandHost
from lorax_batch_scheduler.server_hosts.command.slot import CommandSlot
from lorax_batch_scheduler.server_hosts.command.template import CommandTemplate

__all__ = ["CommandHost", "CommandSlot", "CommandTemplate"]
