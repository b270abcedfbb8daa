"""What may be listened on with which protection."""

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.exposure import Protection, check_exposure
from lorax_batch_server.listen_address import parse_listen


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/tmp/x.sock"])
def test_this_machine_alone_needs_no_protection(address):
    check_exposure(parse_listen(address), Protection())


@pytest.mark.parametrize("address", [":1", "0.0.0.0:1", "10.1.2.3:1", "[::]:1", "api.example.com:1"])
def test_other_machines_need_some(address):
    with pytest.raises(ConfigurationError, match=r"neither TLS nor a login: .*--auth keys.*--allow-insecure"):
        check_exposure(parse_listen(address), Protection())
    for enough in (
        Protection(keys=True),
        Protection(tls=True),
        Protection(tls=True, keys=True),
        Protection(allow_insecure=True),
    ):
        check_exposure(parse_listen(address), enough)
