"""`--server` texts and `HOST:PORT` texts."""

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.listen_address import ListenAddress, parse_listen
from lorax_batch_server.server_spec import parse_server, parse_servers


def test_the_default_model_is_that_of_every_slot():
    slots = parse_servers(["http://a", "http://b,model=m"], default_model="own/model")
    assert [(slot.declared_model, slot.default_model) for slot in slots] == [(None, "own/model"), ("m", "own/model")]


def test_a_url_alone_is_a_slot_with_the_same_id_each_time() -> None:
    slot = parse_server("http://gpu1:8080/")
    assert (slot.url, slot.kind, slot.declared_model, slot.max_in_flight) == ("http://gpu1:8080", "static", None, None)
    assert slot.slot_id == parse_server(" http://gpu1:8080 ").slot_id != parse_server("http://gpu2:8080").slot_id


def test_options_may_come_in_any_order() -> None:
    slot = parse_server("https://h/v1,max-in-flight=64, model=mistral-7b")
    assert (slot.url, slot.declared_model, slot.max_in_flight) == ("https://h/v1", "mistral-7b", 64)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not an http"),
        ("gpu1:8080", "is not an http"),
        ("http://", "is not an http"),
        ("http://h:99999", "Port out of range"),
        ("http://h:0", "is not an http"),
        ("http://me:pw@h", "password"),
        ("http://h?x=1", "query"),
        ("http://h,model", "'model' is not NAME=VALUE"),
        ("http://h,model=", "is not NAME=VALUE"),
        ("http://h,model=a,model=b", "model is given twice"),
        ("http://h,max-in-flight=0", "between 1 and 10,000, not '0'"),
        ("http://h,max-in-flight=²", "not '²'"),
        ("http://h,colour=red", "'colour' is not an option"),
    ],
)
def test_a_wrong_server_is_told_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as error:
        parse_server(text)
    assert "URL[,model=NAME][,max-in-flight=N]" in str(error.value)


def test_a_server_given_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http://h is given twice"):
        parse_servers(["http://h", "http://h/,model=x"])


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("localhost:50051", "localhost", 50051, True),
        ("127.0.0.2:0", "127.0.0.2", 0, True),
        ("[::1]:7", "::1", 7, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
        (":1", "::", 1, False),
        ("example.org:65535", "example.org", 65535, False),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_listen(text)
    assert (address, address.is_loopback) == (ListenAddress(host=host, port=port), loopback)
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:x", "::1:50051", "h:65536", "h:-1"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        parse_listen(text)
