"""Looks names up, and refuses those that lead where webhooks may not go."""

import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from lorax_batch_scheduler.webhooks.address_rules import AddressRules


class GuardedResolver(AbstractResolver):
    """A resolver whose every answer has been checked; connections are made to just these addresses."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            ForbiddenAddressError: one of them may not be called; a name with several is as bad as its worst.
            OSError: there is no such host, or nobody to ask.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        if not found:
            raise OSError(f"{host} has no address")
        for _, _, _, _, sockaddr in found:
            self._rules.check_address(host, str(sockaddr[0]))
        return [
            ResolveResult(
                hostname=host,
                host=str(sockaddr[0]),
                port=int(sockaddr[1]),
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, sockaddr in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
