"""Every setting of the service: from the command line, `LORAX_BATCH_*` variables, and a TOML file, in this order."""

import difflib
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import pydantic
from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES, LOCAL_SOURCE
from lorax_batch_scheduler.catalogue import DEFAULT_MAX_PARAMETERS
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.objects.allowed_place import parse_allowed_place
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.scheduling.finaliser import MAX_ATTEMPTS
from lorax_batch_scheduler.scheduling.lease_keeper import LEASE
from lorax_batch_scheduler.toml_file import read_toml
from lorax_batch_scheduler.webhooks.address_rules import AddressRules, parse_networks
from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from lorax_batch_server.listen_address import ListenAddress, parse_listen
from lorax_batch_server.retention_settings import RetentionSettings
from lorax_batch_server.role import Role
from lorax_batch_server.security_settings import SecuritySettings
from lorax_batch_server.server_spec import parse_servers

PREFIX: Final = "LORAX_BATCH_"
_GiB: Final = 1 << 30
_OPTIONS: Final = {"servers": "server"}
"""Settings whose option is named otherwise."""
_SECRETS: Final = ("database_url", "secrets_key")
"""Settings whose value no message shows."""
_SHOWN_CHARACTERS: Final = 300
_T = TypeVar("_T")
_Words = Annotated[list[str], NoDecode]
"""A list; in a variable, its items stand apart by white space."""


class Settings(SecuritySettings, RetentionSettings):
    """The service's settings. Read them with `load_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True)

    role: Role = Field(
        default=Role.ALL, description="api: serve callers; scheduler: ingest, run servers, end jobs; all: both"
    )
    listen: str = Field(
        default="localhost:50051", description="HOST:PORT of the gRPC listener; port 0 takes a free one"
    )
    auth: Literal["off", "keys"] = Field(
        default="off", description="keys: every call needs an API key; off: whoever can connect can do anything"
    )
    operator_key_file: Path | None = Field(
        default=None, description="holds an operator's key, with which others can be made; made when it is not there"
    )
    allow_insecure: bool = Field(
        default=False,
        description="listen on other addresses than loopback without TLS, or without knowing who calls",
    )
    data_dir: Path = Field(
        default=Path("lorax-batch-data"), description="where the embedded PostgreSQL and objects are kept"
    )
    database_url: pydantic.SecretStr | None = Field(
        default=None, description="a PostgreSQL >= 15 to use instead of the embedded one: postgresql://..."
    )
    database_timeout_s: float = Field(
        default=5.0,
        ge=0.5,
        le=60.0,
        description="a PostgreSQL that answers nothing for so long counts as lost: calls get UNAVAILABLE until it does",
    )
    object_store: str | None = Field(
        default=None, description="s3://BUCKET/PREFIX or a directory; unset: a directory in data_dir"
    )
    servers: _Words = Field(default=[], description="static LoRAX servers: URL[,model=NAME][,max-in-flight=N]")
    fleet: Path | None = Field(
        default=None,
        description="a TOML file with slots on which LoRAX servers are started and stopped; see docs/fleet.md",
    )
    keep_servers: bool = Field(
        default=False,
        description="leave started LoRAX servers running when the service ends, for the next start to go on with",
    )
    start_back_off_s: float = Field(
        default=5.0, ge=0.1, le=3_600.0,
        description="how long a server configuration waits after a failed start; doubles with each, to 10 minutes",
    )  # fmt: skip
    max_failed_starts: int = Field(
        default=5, ge=1, le=1_000,
        description="failed starts in a row on every kind of slot, after which the jobs of a server configuration fail",
    )  # fmt: skip
    unfit_jobs: Literal["wait", "fail"] = Field(
        default="wait",
        description="jobs whose server has room on no slot of the fleet: wait for a larger one, or fail and say so",
    )
    default_server_model: str | None = Field(default=None, description="the model of servers that report none")
    catalogue: Path | None = Field(default=None, description="a TOML file with further base models")
    max_parameters: int = Field(
        default=DEFAULT_MAX_PARAMETERS, ge=1, description="the largest base model that jobs may name, in parameters"
    )
    accept_unlisted_models: bool = Field(
        default=False, description="let jobs name base models that the catalogue does not know, of whatever size"
    )
    price_per_million_tokens: Decimal = Field(
        default=Decimal("0.50"), ge=0, le=1_000_000, max_digits=13, decimal_places=6,
        description="of prompt and completion tokens alike",
    )  # fmt: skip
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217")
    default_max_tokens: int = Field(
        default=1_024, ge=1, le=1_000_000, description="max_tokens of rows when neither they nor their job set any"
    )
    import_roots: _Words = Field(default=[], description="directories that datasets may be imported from")
    import_buckets: _Words = Field(
        default=[], description="s3://BUCKET/PREFIX[?endpoint=URL&...] below which callers may import datasets from"
    )
    export_buckets: _Words = Field(
        default=[], description="s3://BUCKET/PREFIX[?endpoint=URL&...] below which callers may have results written"
    )
    collect_interval_s: float = Field(
        default=6 * 3600.0, ge=60.0, le=30 * 86_400.0,
        description="how often one process looks through the object store for what no row names",
    )  # fmt: skip
    collect_grace_s: float = Field(
        default=86_400.0, ge=3_600.0, le=365 * 86_400.0,
        description="how long an object must have had no name before it is deleted: time to restore a database in",
    )  # fmt: skip
    max_dataset_bytes: int = Field(default=100 * _GiB, ge=1, description="the largest dataset, as uploaded")
    max_line_bytes: int = Field(
        default=IngestLimits().max_line_bytes,
        ge=1_024,
        le=64 << 20,
        description="the longest line of a dataset; longer ones are invalid rows",
    )
    commit_interval_s: float = Field(
        default=0.25, ge=0.1, le=1.0, description="how often results are committed: what a crash runs again at most"
    )
    shutdown_grace_s: float = Field(
        default=30.0,
        ge=0,
        le=3_600,
        description="how long rows and calls may go on after SIGTERM before they are cut off",
    )
    lease_s: float = Field(
        default=LEASE.total_seconds(),
        ge=1.0,
        le=600.0,
        description="how long the work of a service that died is left alone before others of its database take it over",
    )
    finalise_attempts: int = Field(
        default=MAX_ATTEMPTS,
        ge=1,
        le=100,
        description="how many processes in a row may die while they write a job's files before it ends without them",
    )
    stall_after_s: float = Field(
        default=120.0,
        ge=1.0,
        le=86_400.0,
        description="a server with rows in flight that answers none for so long is asked what is the matter",
    )
    time_scale: float = Field(
        default=1.0, ge=0.001, le=1.0,
        description="seconds that a second of the scheduler takes: less than 1 is for servers simulated at that scale",
    )  # fmt: skip
    webhook_networks: _Words = Field(
        default=[], description="private networks that webhooks may call, as 10.0.0.0/8; public ones they always may"
    )
    webhook_allow_http: bool = Field(
        default=False, description="let webhooks have http URLs: anybody on the way can read what jobs do"
    )
    webhook_give_up_days: float = Field(
        default=5.0,
        gt=0.0,
        le=30.0,
        description="a webhook of which every try has failed for so long is disabled",
    )
    metrics_host: str = Field(default="localhost", description="address of the Prometheus listener")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="port of the Prometheus listener; unset: none"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+$",
        description="an OpenTelemetry collector that takes OTLP over gRPC: http(s)://HOST:4317; unset: no traces",
    )
    trace_ratio: float = Field(
        default=1.0, gt=0, le=1.0, description="the share of jobs that are traced whose callers have not decided it"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug also logs every call that only reads"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: text at a terminal, else JSON"
    )

    @field_validator(
        *("servers", "import_roots", "import_buckets", "export_buckets", "adapter_sources", "webhook_networks"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split() if isinstance(value, str) else value

    @field_validator("*")
    @classmethod
    def _check_text(cls, value: object) -> object:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str | Path) and "\0" in str(text):
                raise ValueError("holds a NUL character: remove it")
        return value

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        return _valid(parse_listen, value)

    @field_validator("servers")
    @classmethod
    def _check_servers(cls, value: list[str]) -> list[str]:
        return _valid(parse_servers, value)

    @field_validator("import_roots")
    @classmethod
    def _check_roots(cls, value: list[str]) -> list[str]:
        for root in value:
            if not Path(root).is_absolute():
                raise ValueError(f"'{root}' is not an absolute path")
        return value

    @field_validator("import_buckets", "export_buckets")
    @classmethod
    def _check_buckets(cls, value: list[str]) -> list[str]:
        for url in value:
            if not url.startswith("s3://"):
                raise ValueError(f"'{url}' does not begin with s3://")
            _valid(partial(parse_allowed_place, what="bucket"), url)
        return value

    @field_validator("webhook_networks")
    @classmethod
    def _check_networks(cls, value: list[str]) -> list[str]:
        return _valid(parse_networks, value)

    @property
    def address_rules(self) -> AddressRules:
        """Which URLs webhooks may call."""
        return AddressRules(networks=parse_networks(self.webhook_networks), allow_http=self.webhook_allow_http)

    def check_client_files(self) -> None:
        super().check_client_files()
        named = self.client_tls("database").first_setting
        if named and self.database_url is None:
            raise ConfigurationError(
                f"{named} is set, but the embedded PostgreSQL is used, over a socket without TLS: give "
                f"--database-url ({PREFIX}DATABASE_URL), or leave {named} out"
            )

    @property
    def retention(self) -> RetentionPolicy:
        """What is kept for how long."""
        return msgspec.structs.replace(super().retention, undelivered=timedelta(days=self.webhook_give_up_days))

    @property
    def listen_address(self) -> ListenAddress:
        """Where to listen."""
        return parse_listen(self.listen)

    @property
    def allowed_adapter_sources(self) -> tuple[str, ...]:
        """Where rows may have adapters from."""
        if self.adapter_sources is not None:
            return tuple(self.adapter_sources)
        return tuple(source for source in ADAPTER_SOURCES if self.auth == "off" or source != LOCAL_SOURCE)

    @property
    def price_micros_per_million(self) -> int:
        """The price of a million tokens in 1/1,000,000 of the currency."""
        return int(self.price_per_million_tokens * 1_000_000)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 - checked by pydantic
    """Read the settings; `overrides` are those of the command line, None for what it does not say.

    Raises:
        ConfigurationError: names the setting, its value and where it stands.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    written = read_toml(config, "configuration file (--config)") if config is not None else {}
    sources = _Sources(given, config)
    unknown = next((name for name in (*given, *written) if name not in Settings.model_fields), None)
    if unknown is not None:
        shown = unknown[:_SHOWN_CHARACTERS]
        raise ConfigurationError(f"{sources.of(shown)}: there is no setting '{shown}'{_near(shown)}")

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                InitSettingsSource(settings_cls, given),
                env_settings,
                InitSettingsSource(settings_cls, written),
            )

    try:
        settings = Sourced()
    except pydantic.ValidationError as error:
        raise ConfigurationError("; ".join(sources.explain(fault) for fault in error.errors())) from error
    _check_role(settings)
    return settings


def _check_role(settings: Settings) -> None:
    """Refuse half a service on stores that its other half can't reach."""
    if settings.role is Role.ALL:
        return
    needed = (
        ("database_url", settings.database_url, "the embedded PostgreSQL serves one process only"),
        ("object_store", settings.object_store, "the data directory belongs to one process only"),
    )
    for name, value, why in needed:
        if value is None:
            raise ConfigurationError(
                f"role {settings.role} shares its work with other processes, but {name} is not set, and {why}: give "
                f"--{name.replace('_', '-')} ({PREFIX}{name.upper()}), the same to all of them, or use --role all"
            )


def unknown_variables(environment: Mapping[str, str], others: frozenset[str] = frozenset()) -> list[str]:
    """Return variables with our prefix that are no setting, nor one of the `others` that are ours too.

    Worth a warning and no more: Kubernetes makes such variables for every service of a similar name.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | others
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


class _Sources:
    """Where each setting came from."""

    def __init__(self, given: Mapping[str, Any], config: Path | None) -> None:
        self._given = given
        self._config = config

    def of(self, name: str) -> str:
        """Return the source whose value counts."""
        variable = f"{PREFIX}{name.upper()}"
        if name in self._given:
            return f"option --{_OPTIONS.get(name, name).replace('_', '-')}"
        if variable in os.environ:
            return f"variable {variable}"
        return f"file {self._config}"

    def explain(self, fault: Any) -> str:  # noqa: ANN401 - pydantic's own type
        """Return what is wrong with one setting."""
        name = str(fault["loc"][0]) if fault["loc"] else "?"
        message = str(fault["msg"]).removeprefix("Value error, ")
        value = "" if name in _SECRETS else f" = {_shown(repr(fault['input']))}"
        return f"{self.of(name)}: setting {name}{value}: {_shown(message)}"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _valid(parse: Callable[[_T], object], value: _T) -> _T:
    """Return the value if it can be parsed."""
    try:
        parse(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return value
