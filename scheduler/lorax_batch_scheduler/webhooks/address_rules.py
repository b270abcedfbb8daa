"""Which URLs may be called: what callers give must not reach what only this machine or its network can."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError

MAX_URL_CHARACTERS: Final = 2_048
_Address = IPv4Address | IPv6Address
_NAT64: Final = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")
_NEVER_PUBLIC: Final = (
    # What Python's own tables, which differ between its versions, may take for public.
    IPv4Network("0.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("100::/64"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    IPv6Network("fc00::/7"),
    IPv6Network("fec0::/10"),
)


class ForbiddenAddressError(OSError):
    """An address that may not be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What operators allow beyond `https` to public addresses."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Private ones that may be called."""
    allow_http: bool = False

    def check_url(self, url: str) -> None:
        """Check all of a URL that can be checked without asking a resolver.

        Raises:
            InvalidInputError: says what is wrong with it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _bad_url(f"{url[:80]!r} is no URL: {error}") from None
        self._check_scheme(url, parts)
        if len(url) > MAX_URL_CHARACTERS:
            raise _bad_url(f"has {len(url)} characters, but at most {MAX_URL_CHARACTERS} are accepted")
        if any(character.isspace() or not character.isprintable() for character in url) or "\\" in url:
            raise _bad_url(f"{url[:80]!r} holds white space, a backslash or what can't be printed: percent-encode it")
        if not parts.hostname:
            raise _bad_url(f"{url[:80]!r} names no host: give one, as in https://example.com/hooks")
        if parts.username is not None or parts.password is not None:
            raise _bad_url("holds a user or password, which logs would show: verify the signature instead")
        if parts.fragment:
            raise _bad_url(f"ends in '#{parts.fragment[:80]}', which is never sent: leave it out")
        if port == 0:
            raise _bad_url("names port 0, on which nothing listens")
        self._check_host(parts.hostname)

    def check_address(self, host: str, address: str) -> None:
        """Check an address that a connection is about to be made to. Raises `ForbiddenAddressError`."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            raise ForbiddenAddressError(f"{address!r} is no address as it should be written") from None
        if not self._is_allowed(parsed):
            # Not where a name leads: callers could read the names of the network inside, one by one.
            named = f"{address} is" if host == address else f"{host} leads to what is"
            raise ForbiddenAddressError(
                f"{named} not a public address: operators may allow its network with webhook_networks"
            )

    def _check_scheme(self, url: str, parts: SplitResult) -> None:
        allowed = "https or http" if self.allow_http else "https"
        if not parts.scheme or "://" not in url:
            raise _bad_url(f"{url[:80]!r} has no scheme: give all of it, as in https://example.com/hooks")
        if parts.scheme == "http" and not self.allow_http:
            raise _bad_url("is http, which anybody on the way can read: use https (or see webhook_allow_http)")
        if parts.scheme not in ("http", "https"):
            raise _bad_url(f"is of the scheme '{parts.scheme[:20]}': only {allowed} can be called")

    def _check_host(self, host: str) -> None:
        # What looks like a number is taken for an address by some, in forms that differ: 127.1, 0x7f.1, 2130706433.
        last = host.rstrip(".").rpartition(".")[2]
        if ":" in host or last.isdecimal() or last.startswith("0x"):
            try:
                self.check_address(host, host)
            except ForbiddenAddressError as error:
                raise _bad_url(str(error)) from None

    def _is_allowed(self, address: _Address) -> bool:
        """Judge by the address that packets end at: some of IPv6 stand for one of IPv4."""
        inner = _inner(address)
        if any(one in network for network in self.networks for one in (address, inner)):
            return True
        return _is_public(address if inner == address else inner)


def parse_networks(words: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read networks. Raises `ConfigurationError` for what is none."""
    try:
        return tuple(ip_network(word) for word in words)
    except ValueError as error:
        raise ConfigurationError(f"{error}: give networks as 10.0.0.0/8 or fd00::/8") from None


def _inner(address: _Address) -> _Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: _Address) -> bool:
    if any(address in network for network in _NEVER_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def _bad_url(message: str) -> InvalidInputError:
    return InvalidInputError("webhook.url", message)
