"""`[[slots]]` of a fleet file: GPUs of this host, each for one server or shared by several."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.server_hosts.command import CommandSlot, CommandTemplate
from lorax_batch_scheduler.server_hosts.command.slot import GRACE_S
from lorax_batch_scheduler.server_hosts.fleet_entry import read_entry
from lorax_batch_scheduler.server_hosts.gpu_shares import check_shares

_GIB: Final = 1 << 30
_DAY_S: Final = 86_400.0
_Id = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z",
        description="1 to 63 lower-case letters, digits, '.', '_' and '-', the first a letter or a digit",
    ),
]
_Gpu = (
    Annotated[int, msgspec.Meta(ge=0, le=1_023)]
    | Annotated[
        str,
        msgspec.Meta(
            pattern=r"\A(GPU|MIG)-[\w/-]{1,80}\Z",
            description="a GPU's number (0, without quotes) or its UUID ('GPU-...' or 'MIG-...'), as of nvidia-smi",
        ),
    ]
)
_Gib = Annotated[float, msgspec.Meta(gt=0, le=10_000)]
_Text = Annotated[str, msgspec.Meta(max_length=63)]
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = {
    "CUDA_VISIBLE_DEVICES": "gpus says it",
    "HUGGING_FACE_HUB_TOKEN": "it comes with each job, or is the service's own",
    "HF_TOKEN": "it comes with each job, or is the service's own",
}


class CommandEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as the file writes it."""

    id: _Id
    gpus: Annotated[list[_Gpu], msgspec.Meta(min_length=1, max_length=16)]
    template: _Text = "docker"
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    gpu_memory_gib: _Gib | None = None
    """Of one GPU."""
    memory_gib: _Gib | None = None
    """Of the slot: of all its GPUs together."""
    gpu_kind: _Text = ""
    node: _Text = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    grace_s: Annotated[float, msgspec.Meta(ge=0, le=_DAY_S)] = GRACE_S
    start_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=_DAY_S)] = 1_800.0
    environment: dict[str, str] = {}
    values: dict[str, str] = {}


def read_command_slots(
    raw_entries: Sequence[tuple[str, object]], templates: Mapping[str, CommandTemplate]
) -> tuple[CommandSlot, ...]:
    """Return the slots, which share GPUs as they can. Raises `ConfigurationError`."""
    slots: dict[str, CommandSlot] = {}
    for where, raw in raw_entries:
        entry = read_entry(raw, CommandEntry, where)
        if entry.id in slots:
            raise ConfigurationError(f"{where}: id = '{entry.id}': another slot has it: give each slot its own")
        same_port = next((slot for slot in slots.values() if slot.port is not None and slot.port == entry.port), None)
        if same_port is not None:
            raise ConfigurationError(
                f"{where}: port = {entry.port}: slot '{same_port.slot_id}' has it: give each its own, or leave it out"
            )
        slots[entry.id] = _slot(entry, where, templates)
        check_shares(slots.values(), where)
    return tuple(slots.values())


def _slot(entry: CommandEntry, where: str, templates: Mapping[str, CommandTemplate]) -> CommandSlot:
    template = _find_template(entry.template, where, templates)
    gpus = tuple(str(gpu) for gpu in entry.gpus)
    if len(set(gpus)) < len(gpus):
        raise ConfigurationError(f"{where}: gpus = {entry.gpus}: names a GPU twice")
    if len(gpus) > 1 and template.uses("gpu"):
        raise ConfigurationError(f"{where}: gpus = {entry.gpus}: template {template.name} has {{gpu}}: use {{gpus}}")
    if entry.port is None and not template.uses("port"):
        raise ConfigurationError(
            f"{where}: template {template.name} has no {{port}}, so its servers could not be found: "
            "use it in command, or give the slot the port that they listen on"
        )
    _check_environment(entry.environment, where)
    for name in entry.values:
        if name not in template.values:
            known = ", ".join(sorted(template.values)) or "none"
            raise ConfigurationError(f"{where}: values: template {template.name} has no '{name}' (it has: {known})")
        if "\0" in entry.values[name]:
            raise ConfigurationError(f"{where}: values.{name} holds a NUL, which no argument can: remove it")
    share, memory_gib = _size(entry, where)
    return CommandSlot(
        slot=Slot(
            slot_id=entry.id,
            kind="command",
            gpu_kind=entry.gpu_kind,
            memory_bytes=round(memory_gib * _GIB),
            gpu_share=share,
            # Servers of this host share its cache of weights, whatever the slot.
            node=entry.node or "localhost",
            start_timeout_s=entry.start_timeout_s,
        ),
        template=template,
        gpus=gpus,
        share=share,
        gpu_memory_gib=memory_gib / share / len(gpus),
        port=entry.port,
        grace_s=entry.grace_s,
        environment=entry.environment,
        values=entry.values,
    )


def _find_template(name: str, where: str, templates: Mapping[str, CommandTemplate]) -> CommandTemplate:
    if name not in templates:
        near = difflib.get_close_matches(name, templates, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise ConfigurationError(
            f"{where}: template = '{name}': there is no such template{hint}; there are: {', '.join(sorted(templates))}"
        )
    return templates[name]


def _check_environment(environment: Mapping[str, str], where: str) -> None:
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ConfigurationError(f"{where}: environment: '{name}' can't be a variable, or its value holds a NUL")
        if name in _OURS:
            raise ConfigurationError(f"{where}: environment: {name} can't be set here: {_OURS[name]}")


def _size(entry: CommandEntry, where: str) -> tuple[float, float]:
    """Return the share of each GPU, and the memory of the slot in GiB; 0: unknown."""
    whole_gib = (entry.gpu_memory_gib or 0.0) * len(entry.gpus)
    if entry.memory_gib is None:
        share = 1.0 if entry.share is None else entry.share
        return share, whole_gib * share
    if whole_gib and entry.memory_gib > whole_gib:
        raise ConfigurationError(
            f"{where}: memory_gib = {entry.memory_gib:g}: its GPUs have {whole_gib:g} GiB: take less, or more GPUs"
        )
    if entry.share is not None:
        if whole_gib and entry.memory_gib > whole_gib * entry.share * (1 + 1e-6):
            raise ConfigurationError(
                f"{where}: memory_gib = {entry.memory_gib:g}: a share of {entry.share:g} has "
                f"{whole_gib * entry.share:g} GiB: leave one of the two out"
            )
        return entry.share, entry.memory_gib
    return (entry.memory_gib / whole_gib if whole_gib else 1.0), entry.memory_gib
