"""Which addresses may be called."""

from ipaddress import ip_network

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.webhooks.address_rules import AddressRules, ForbiddenAddressError, parse_networks

STRICT = AddressRules()


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.169.254",
        "172.31.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:0:0:0:0:80ff:fffe",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "",
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        STRICT.check_address("example.com", address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_what_is_public_is_allowed(address: str) -> None:
    STRICT.check_address("example.com", address)


def test_a_network_may_be_allowed_also_in_its_other_form() -> None:
    rules = AddressRules(networks=(ip_network("10.0.0.0/8"),))
    rules.check_address("hooks", "10.9.8.7")
    rules.check_address("hooks", "::ffff:10.9.8.7")
    with pytest.raises(ForbiddenAddressError, match="hooks leads to what is not a public address"):
        rules.check_address("hooks", "192.168.0.1")


@pytest.mark.parametrize("word", ["10.0.0.1/8", "ten", "10.0.0.0/33"])
def test_a_network_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ConfigurationError, match=r"give networks as 10.0.0.0/8"):
        parse_networks(["10.0.0.0/8", word])
