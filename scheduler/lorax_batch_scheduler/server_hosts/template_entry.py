"""`[templates.NAME]` of a fleet file, and the templates that come with the package."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.server_hosts.command.template import CommandTemplate, shipped_names, shipped_text
from lorax_batch_scheduler.server_hosts.fleet_entry import read_entry, shown
from lorax_batch_scheduler.toml_file import parse_toml

_Words = list[Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]]


class _TemplateEntry(msgspec.Struct, frozen=True, kw_only=True):
    command: Annotated[_Words, msgspec.Meta(min_length=1)]
    stop: _Words = []
    cleanup: _Words = []
    values: dict[str, str] = {}


def read_templates(raw: object, source: str) -> dict[str, CommandTemplate]:
    """Return the templates of a fleet file and those that are shipped; the file's win. Raises `ConfigurationError`."""
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{source}: templates: must be tables [templates.NAME], not {shown(raw)}")
    own = {name: _template(name, entry, f"{source}: templates.{name}") for name, entry in raw.items()}
    return {**shipped_templates(), **own}


def shipped_templates() -> Mapping[str, CommandTemplate]:
    """Return the templates that come with the package: `docker`, `launcher`, `simulator`."""
    return {
        name: _template(name, parse_toml(shipped_text(name), f"{name}.toml"), f"{name}.toml")
        for name in shipped_names()
    }


def _template(name: str, raw: object, where: str) -> CommandTemplate:
    entry = read_entry(raw, _TemplateEntry, where)
    template = CommandTemplate(
        name=name,
        command=tuple(entry.command),
        stop=tuple(entry.stop),
        cleanup=tuple(entry.cleanup),
        values=entry.values,
    )
    try:
        template.check()
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return template
