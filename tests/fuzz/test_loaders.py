"""Bad configuration files, catalogues and server texts are told as such: one clear error, nothing else."""

import tomllib
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError
from lorax_batch_server.listen_address import parse_listen
from lorax_batch_server.server_spec import parse_server, parse_servers
from lorax_batch_server.settings import Settings, load_settings

from tests.fuzz.effort import FUZZED, SCALE
from tests.fuzz.mutations import mutate
from tests.fuzz.odd_values import ODD_TEXTS

MAX_MESSAGE_CHARACTERS = 2_500
SETTINGS = b"""listen = "localhost:0"
servers = ["http://a:80,model=gpt2,max-in-flight=4"]
import_roots = ["/data"]
price_per_million_tokens = "0.25"
max_line_bytes = 4096
commit_interval_s = 0.5
metrics_port = 9090
"""
CATALOGUE = b"""[models.tiny]
hf_id = "org/tiny"
parameters = 1_000
context_length = 100
bytes_per_weight = 0.5
kv_bytes_per_token = 10
aliases = ["small", "org/small"]
"""
NASTY_TOML = {
    "deep": b"x = " + b"[" * 50_000,
    "deep and closed": b"x = " + b"[" * 5_000 + b"]" * 5_000,
    "deep tables": b"x = " + b"{a=" * 5_000,
    "deep keys": b".".join([b"a"] * 1_500) + b" = 1",
    "a number of thousands of digits": b"metrics_port = " + b"9" * 5_000,
    "a float of thousands of digits": b"commit_interval_s = 0." + b"9" * 5_000,
    "no such day": b"listen = 2020-13-45",
    "no such time": b"listen = 25:99:99",
    "a key twice": b"listen = 'a:1'\nlisten = 'a:1'",
    "UTF-16": "listen = 'localhost:1'".encode("utf-16"),
    "mark first": b"\xef\xbb\xbflisten = 'localhost:1'",
    "NUL": b"listen = 'local\0host'",
    "NUL escaped": b'data_dir = "a\\u0000b"',
    "catalogue with a NUL": b'catalogue = "a\\u0000b"',
    "surrogate escaped": b'listen = "\\ud800"',
    "infinite": b"commit_interval_s = inf\nlease_s = nan\nshutdown_grace_s = -inf",
    "a date for a number": b"lease_s = 2020-01-01",
    "huge": b"max_dataset_bytes = 99999999999999999999999999",
    "models that are a list": b"models = []",
    "a model that is a number": b"[models]\na = 5",
    "a model without a name": b'[models.""]\nparameters = 1\ncontext_length = 1',
    "a model named with a space": b'[models." "]\nparameters = 1\ncontext_length = 1',
    "a model named with a control character": b'[models."a\\nb"]\nparameters = 1\ncontext_length = 1',
    "an alias of white space": b'[models.a]\nparameters = 1\ncontext_length = 1\naliases = [" "]',
    "a model of infinite weight": b"[models.a]\nparameters = 1\ncontext_length = 1\nbytes_per_weight = nan",
    "a model beyond floats": b"[models.a]\ncontext_length = 1\nparameters = 1" + b"0" * 400,
    "a model of a long name": b"[models." + b"a" * 100_000 + b"]\nparameters = 1\ncontext_length = 1",
    "an unknown field of a long name": b"[models.a]\n" + b"b" * 100_000 + b" = 1",
    "an unknown setting of a long name": b"b" * 100_000 + b" = 1",
    "a setting of a long value": b"currency = '" + b"b" * 100_000 + b"'",
    "binary": bytes(range(256)),
}


def check_settings(path: Path) -> None:
    """Load settings: they are right, or the error is ours."""
    try:
        settings = load_settings(path)
    except ConfigurationError as error:
        check_message(str(error))
        return
    assert "\0" not in str(settings.data_dir)
    assert 0 <= settings.listen_address.port <= 65_535
    assert settings.price_micros_per_million >= 0
    parse_servers(settings.servers)


def check_catalogue(path: Path) -> None:
    """Load a catalogue: every model of it can be asked for, or the error is ours."""
    try:
        catalogue = Catalogue.load(path)
    except ConfigurationError as error:
        check_message(str(error))
        return
    for model in catalogue:
        assert 0 < len(model.name.strip()) <= 200
        assert model.name.isprintable()
        assert model.weight_bytes > 0
        for name in catalogue.aliases(model):
            assert catalogue.named(name) is model
        with suppress(InvalidInputError):  # larger than may be served
            assert catalogue.check(model.name) is model
    with pytest.raises(InvalidInputError, match="at most"):
        catalogue.check("no such model")


def check_message(message: str) -> None:
    """Check that a message can be read."""
    assert message
    assert len(message) <= MAX_MESSAGE_CHARACTERS
    assert "\0" not in message


@pytest.mark.parametrize("name", NASTY_TOML)
def test_nasty_files_are_refused_in_one_sentence(name, tmp_path):
    path = tmp_path / "nasty.toml"
    path.write_bytes(NASTY_TOML[name])
    check_settings(path)
    check_catalogue(path)


def test_a_file_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / ("x" * 300), Path("a\0b"), Path("/dev/null/x")):
        for load in (load_settings, Catalogue.load):
            with pytest.raises(ConfigurationError, match="can't be read"):
                load(path)


@pytest.mark.parametrize(("original", "check"), [(SETTINGS, check_settings), (CATALOGUE, check_catalogue)])
def test_damaged_files_are_refused_or_right(original, check, chance: Random, tmp_path):
    path = tmp_path / "damaged.toml"
    for _ in range(150 * SCALE):
        path.write_bytes(mutate(original, chance))
        check(path)


def toml_of(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    return str(value).lower() if not isinstance(value, list) else f"[{', '.join(map(toml_of, value))}]"


values = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.lists(st.sampled_from(ODD_TEXTS), max_size=3),
    st.lists(st.integers(-5, 5), max_size=2),
)


@FUZZED
@given(written=st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), values, max_size=4))
def test_any_setting_may_be_anything(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "service.toml"
    path.write_text("".join(f"{name} = {toml_of(value)}\n" for name, value in written.items()), encoding="utf-8")
    tomllib.loads(path.read_text(encoding="utf-8"))
    check_settings(path)


@FUZZED
@given(
    name=st.text(max_size=30),
    entry=st.dictionaries(
        st.sampled_from(["hf_id", "parameters", "context_length", "bytes_per_weight", "kv_bytes_per_token", "aliases"]),
        values,
    ),
)
def test_any_entry_of_a_catalogue_may_be_anything(name, entry, tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "models.toml"
    fields = {"parameters": 1, "context_length": 1} | entry
    lines = [f"[models.{toml_of(name)}]", *(f"{field} = {toml_of(value)}" for field, value in fields.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    check_catalogue(path)


server_texts = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="htps:/[]@?#,=.%-0 91amodelxinfght\n\t\0\u2028", max_size=40).map("http://".__add__),
    st.builds("http://a{}{}={}".format, st.sampled_from(",;"), st.text(max_size=15), st.sampled_from(ODD_TEXTS)),
)


@FUZZED
@given(server_texts)
def test_any_text_is_a_server_or_is_refused(text):
    try:
        slot = parse_server(text)
    except ConfigurationError as error:
        check_message(str(error).replace("\0", ""))
        return
    assert slot.url.startswith(("http://", "https://"))
    assert slot.url.isprintable()
    assert " " not in slot.url
    assert parse_server(slot.url).slot_id == slot.slot_id
    assert slot.max_in_flight is None or 1 <= slot.max_in_flight <= 10_000
    assert slot.declared_model is None or slot.declared_model.isprintable()


@FUZZED
@given(st.one_of(st.text(max_size=60), st.text(alphabet="unix:[]0159./\0l", max_size=30)))
def test_any_text_is_an_address_to_listen_on_or_is_refused(text):
    try:
        address = parse_listen(text)
    except ConfigurationError as error:
        check_message(str(error).replace("\0", ""))
        return
    assert 0 <= address.port <= 65_535
    assert "\0" not in address.socket
    assert parse_listen(str(address)) == address
