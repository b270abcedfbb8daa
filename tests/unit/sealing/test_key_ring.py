"""Keys as texts."""

import base64

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.sealing.key_ring import KEY_BYTES, new_key, parse_keys


def encoded(size: int) -> str:
    return base64.b64encode(b"k" * size).decode()


def test_a_new_key_reads_back_and_is_in_no_repr() -> None:
    first, second = new_key(), new_key()
    ring = parse_keys(f"# the new one\n{first}  # since May\n\n{second}\n", "file")
    assert ring.keys == (first, second)
    assert ring.current == first
    assert (ring.find(second.key_id), ring.find("none")) == (second, None)
    assert str(first).partition(":")[2] not in repr(ring)


def test_a_key_may_be_of_the_url_safe_alphabet() -> None:
    key = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()
    assert "-" in key
    assert parse_keys(f"k:{key}", "file").current.raw == b"\xfb\xff" * 16


@pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
def test_a_key_of_a_wrong_length_is_refused_by_its_name(size: int) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"file: key 2, 'short', has {size} bytes, but needs {KEY_BYTES}.*new-key"
    ):
        parse_keys(f"{new_key()}\nshort:{encoded(size)}", "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        (encoded(32).rstrip("="), "key 1 has no id"),
        (f":{encoded(32)}", "key 1 has no id"),
        (f"../x:{encoded(32)}", "key 1 has no id"),
        (f"{'i' * 65}:{encoded(32)}", "key 1 has no id"),
        ("k:not*base64", "key 1, 'k', is not Base64"),
        (f"k:{encoded(32)[:-1]}", "key 1, 'k', is not Base64"),
        (f"k:{encoded(32)} k:{encoded(32)}", "key 'k' is there twice"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        parse_keys(text, "secrets_key_file '/k'")
    assert "secrets_key_file '/k'" in str(refused.value)
    assert encoded(32)[:10] not in str(refused.value)
    assert "not*base64" not in str(refused.value)
