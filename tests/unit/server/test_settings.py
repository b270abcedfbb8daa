"""Settings: where they come from, and what is said of wrong ones."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_server.settings import load_settings, unknown_variables


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "service.toml"


def test_the_command_line_wins_over_variables_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('listen = "localhost:1"\ncurrency = "EUR"\nlog_level = "debug"\nservers = ["http://a:80"]')
    monkeypatch.setenv("LORAX_BATCH_LISTEN", "localhost:2")
    monkeypatch.setenv("LORAX_BATCH_CURRENCY", "CHF")
    settings = load_settings(config, listen="localhost:3", metrics_port=None)
    assert (settings.listen, settings.currency, settings.log_level) == ("localhost:3", "CHF", "debug")
    assert (settings.servers, settings.metrics_port) == (["http://a:80"], None)


def test_the_price_is_exact(config: Path) -> None:
    assert load_settings().price_micros_per_million == 500_000
    config.write_text('price_per_million_tokens = "0.123456"')
    assert load_settings(config).price_per_million_tokens == Decimal("0.123456")
    assert load_settings(config).price_micros_per_million == 123_456


def test_what_is_kept_for_how_long(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().retention == RetentionPolicy(
        jobs=timedelta(days=30), datasets=timedelta(days=30), events=timedelta(days=7), segments=timedelta(minutes=10)
    )
    config.write_text('retention_jobs_days = "off"\nretention_events_days = 0.5\nretention_segments_s = 0')
    monkeypatch.setenv("LORAX_BATCH_RETENTION_DATASETS_DAYS", "Off")
    assert load_settings(config).retention == RetentionPolicy(
        jobs=None, datasets=None, events=timedelta(hours=12), segments=timedelta(0)
    )


@pytest.mark.parametrize("value", ["0", "-1", "40000", "never", "nan", "inf"])
def test_a_time_to_keep_things_that_makes_no_sense_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAX_BATCH_RETENTION_JOBS_DAYS", value)
    with pytest.raises(ConfigurationError, match=f"LORAX_BATCH_RETENTION_JOBS_DAYS.*{value}"):
        load_settings()


def test_a_list_in_a_variable_stands_apart_by_white_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAX_BATCH_SERVERS", "http://a:80,model=gpt2 http://b:80")
    assert load_settings().servers == ["http://a:80,model=gpt2", "http://b:80"]


def test_rows_of_tenants_have_no_adapters_from_files_of_servers_unless_the_settings_say_so() -> None:
    assert load_settings().allowed_adapter_sources == ("hub", "local", "s3", "pbase")
    assert load_settings(auth="keys").allowed_adapter_sources == ("hub", "s3", "pbase")
    assert load_settings(auth="keys", adapter_sources="hub local").allowed_adapter_sources == ("hub", "local")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("commit_interval_s = 5", "service.toml: setting commit_interval_s = 5: .*less than or equal to 1"),
        ("comit_interval_s = 1", "service.toml: there is no setting 'comit_interval_s'.*'commit_interval_s'"),
        ("servers = ['ftp://a']", r"servers = \['ftp://a'\]: server 'ftp://a': .*http://"),
        ("servers = ['http://a', 'http://a/']", "given twice"),
        ("import_roots = ['data']", "'data' is not an absolute path"),
        ("adapter_sources = ['hub', 'ftp']", r"'ftp' is none of hub, local, s3, pbase"),
        ("adapter_sources = ''", "adapter_sources = .*: names none: leave it out"),
        ("listen = '50051'", "HOST:PORT"),
        ("price_per_million_tokens = -1", "price_per_million_tokens = -1"),
        ("currency = 'dollar'", "currency = 'dollar'"),
        ("log_format = 'xml'", "log_format = 'xml'"),
        ("listen = ", "is not TOML"),
        ("listen = 'x'\nlog_level = 'loud'", "listen.*; .*log_level"),
    ],
)
def test_a_wrong_file_is_told_with_setting_and_value(config: Path, text: str, told: str) -> None:
    config.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_settings(config)


def test_the_source_of_a_wrong_value_is_told(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^option --server: setting servers"):
        load_settings(servers=["x"])
    with pytest.raises(ConfigurationError, match=r"^option --colour: there is no setting"):
        load_settings(colour="red")
    monkeypatch.setenv("LORAX_BATCH_METRICS_PORT", "tcp://10.0.0.1:9090")
    with pytest.raises(ConfigurationError, match=r"^variable LORAX_BATCH_METRICS_PORT: setting metrics_port"):
        load_settings()
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_settings(config)


@pytest.mark.parametrize("role", ["api", "scheduler"])
def test_half_a_service_does_not_start_on_stores_of_its_own(role: str) -> None:
    shared: dict[str, Any] = {"database_url": "postgresql://host/db", "object_store": "s3://bucket/prefix"}
    assert load_settings(role=role, **shared).role == role
    for missing, option in (("database_url", "--database-url"), ("object_store", "--object-store")):
        with pytest.raises(ConfigurationError, match=f"^role {role} .*{missing} is not set.* give {option} "):
            load_settings(role=role, **{**shared, missing: None})


def test_an_unknown_role_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"setting role = 'worker': .*'all', 'api' or 'scheduler'"):
        load_settings(role="worker")


def test_the_address_of_the_database_is_not_shown(config: Path) -> None:
    config.write_text("database_url = 'postgresql://me:secret@host/db'")
    assert "me:secret" not in repr(load_settings(config))
    config.write_text("database_url = ['postgresql://me:secret@host/db']")
    with pytest.raises(ConfigurationError) as told:
        load_settings(config)
    assert "secret" not in str(told.value)


def test_variables_that_are_no_setting_are_named() -> None:
    environment = {"LORAX_BATCH_LISTEN": "", "LORAX_BATCH_TARGET": "", "LORAX_BATCH_LISTENN": "", "HOME": ""}
    assert unknown_variables(environment, frozenset({"LORAX_BATCH_TARGET"})) == ["LORAX_BATCH_LISTENN"]


def test_every_setting_is_described() -> None:
    fields = type(load_settings()).model_fields
    assert [name for name, field in fields.items() if not field.description] == []
