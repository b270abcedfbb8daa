"""What an operator says of a fleet in a cluster: the `[kubernetes]` table of the fleet file."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import TOKEN_VARIABLES
from lorax_batch_scheduler.misfit import find_misfit
from lorax_batch_scheduler.server_hosts.fleet_entry import told

KIND: Final = "kubernetes"
GIB: Final = 2**30

# A server's name is lorax-FLEET-CLASS-NUMBER-ID (see `names`) and also a host name, which has at most 63 characters.
_Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z]([-a-z0-9]{0,16}[a-z0-9])?\Z",
        description="1 to 18 lower-case letters, digits and '-', the first a letter and the last not '-'",
    ),
]
_Namespace = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z",
        description="1 to 63 lower-case letters, digits and '-', neither the first nor the last a '-'",
    ),
]
_ObjectName = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?\Z",
        description="the name of an object of the namespace: lower-case letters, digits, '-' and '.'",
    ),
]
_LABEL: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX: Final = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?"
_LabelName = Annotated[
    str, Meta(pattern=rf"^{_PREFIX}{_LABEL}\Z", description="[PREFIX/]NAME as Kubernetes writes them: nvidia.com/gpu")
]
_LabelValue = Annotated[
    str,
    Meta(
        pattern=rf"^({_LABEL})?\Z",
        description="the value of a label: up to 63 letters, digits, '-', '_' and '.', a letter or digit at both ends",
    ),
]
_Gib = Annotated[float, Meta(gt=0, le=10_000)]
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"(?P<repository>[a-z0-9][\w.:/-]*?)(:(?P<tag>[\w][\w.-]{0,127})|@sha256:[0-9a-f]{64})", re.ASCII)


class Toleration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A taint of nodes that servers of a slot class may run on nevertheless; the words are Kubernetes'."""

    key: _LabelName | Literal[""] = ""
    operator: Literal["Exists", "Equal", ""] = ""
    value: _LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""


class SlotClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Slots that are alike, such as those of one node pool."""

    name: _Name = msgspec.field(name="class")
    count: Annotated[int, Meta(ge=1, le=1_000)]
    memory_gib: _Gib
    """Of each GPU."""
    gpu_kind: str = ""
    gpu_count: Annotated[int, Meta(ge=1, le=64)] = 1
    """GPUs of one server, which splits its model over them."""
    gpu_resource: _LabelName = "nvidia.com/gpu"
    """The extended resource that the device plugin offers; a share of a GPU has a name of its own."""
    node_selector: dict[_LabelName, _LabelValue] = {}
    tolerations: list[Toleration] = []
    start_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 1_800.0
    cpu: Annotated[float, Meta(ge=0.001, le=10_000)] | None = None
    host_memory_gib: _Gib | None = None
    shm_gib: _Gib = 1.0
    """Of shared memory, over which the GPUs of one server talk; it counts as memory of the pod."""

    def slots(self, node: str) -> list[Slot]:
        """Return its slots; those with the same `node` share downloaded weights."""
        return [
            Slot(
                slot_id=f"{self.name}-{number}",
                kind=KIND,
                gpu_kind=self.gpu_kind,
                memory_bytes=int(self.memory_gib * GIB) * self.gpu_count,
                node=node,
                start_timeout_s=self.start_timeout_s,
            )
            for number in range(self.count)
        ]


class KubernetesFleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Slots in one namespace of one cluster."""

    image: str
    """REPOSITORY:TAG or REPOSITORY@sha256:...; a job's configuration may name another tag."""
    slots: Annotated[list[SlotClass], Meta(min_length=1)]
    namespace: _Namespace = "default"
    fleet: _Name = "default"
    """Names the owner of objects: services that share a namespace need different ones."""
    kubeconfig: str = ""
    """A file; "" for KUBECONFIG, else the service account of the pod, else ~/.kube/config."""
    context: str = ""
    """Of the kubeconfig; "" for its current one."""
    image_pull_secret: _ObjectName = ""
    env: dict[str, str] = {}
    """More environment of servers, like HF_HUB_OFFLINE; no secrets, everyone who sees a pod sees them."""
    token_secret: _ObjectName = ""
    """A Secret whose `token` is the service's own of Hugging Face, for servers whose job brings none."""
    data_claim: _ObjectName = ""
    """A PersistentVolumeClaim for weights and adapters; with several nodes it must be ReadWriteMany."""
    data_host_path: str = ""
    """A folder of the node for them; without either they are lost with each pod."""
    stop_grace_s: Annotated[int, Meta(ge=1, le=3_600)] = 100
    """LoRAX lets rows in flight end for up to 90 s."""

    @property
    def repository(self) -> str:
        """The image without its tag."""
        return _image_parts(self.image)["repository"]

    @property
    def data_node(self) -> str:
        """What `Slot.node` is: a claim shares the weights of all slots, other volumes share nothing that is known."""
        return f"claim/{self.data_claim}" if self.data_claim else ""

    def slot_table(self) -> dict[str, tuple[Slot, SlotClass]]:
        """Return each slot and its class by its id."""
        return {slot.slot_id: (slot, kind) for kind in self.slots for slot in kind.slots(self.data_node)}


def read_kubernetes_fleet(table: Mapping[str, Any]) -> KubernetesFleet:
    """Read the `[kubernetes]` table of a fleet file.

    Raises:
        ConfigurationError: with the path of the field, its value, what is wrong with it, and what is right.
    """
    try:
        fleet = msgspec.convert(dict(table), KubernetesFleet)
    except msgspec.ValidationError as error:
        misfit = find_misfit(dict(table), KubernetesFleet, error)
        raise ConfigurationError(told(replace(misfit, steps=("kubernetes", *misfit.steps)))) from None
    _image_parts(fleet.image)
    for name in fleet.env:
        if not _VARIABLE.fullmatch(name):
            raise ConfigurationError(
                f"kubernetes.env: '{name}' can't be a variable: letters, digits and '_' are allowed"
            )
        if name in TOKEN_VARIABLES:
            raise ConfigurationError(
                f"kubernetes.env: {name} can't be set here: it comes with each job, or from token_secret"
            )
    for number, kind in enumerate(fleet.slots):
        for place, toleration in enumerate(kind.tolerations):
            _check_toleration(toleration, f"kubernetes.slots[{number}].tolerations[{place}]")
    if fleet.data_claim and fleet.data_host_path:
        raise ConfigurationError("kubernetes: data_claim and data_host_path exclude each other: set one of them")
    if fleet.data_host_path and not fleet.data_host_path.startswith("/"):
        raise ConfigurationError(f"kubernetes.data_host_path: '{fleet.data_host_path}' is not absolute")
    slot_ids = [slot.slot_id for kind in fleet.slots for slot in kind.slots("")]
    if doubled := sorted({slot_id for slot_id in slot_ids if slot_ids.count(slot_id) > 1}):
        raise ConfigurationError(
            f"kubernetes.slots: slot '{doubled[0]}' comes from two classes: give each class a name of its own"
        )
    return fleet


def _check_toleration(toleration: Toleration, where: str) -> None:
    """Refuse what the cluster would refuse with each server."""
    if toleration.operator == "Exists" and toleration.value:
        raise ConfigurationError(
            f"{where}.value = '{toleration.value}': operator 'Exists' takes no value: leave it out, or use 'Equal'"
        )
    if not toleration.key and toleration.operator != "Exists":
        raise ConfigurationError(f"{where}.key: is empty: name a taint's key; only operator 'Exists' goes without one")


def _image_parts(image: str) -> dict[str, str]:
    match = _IMAGE.fullmatch(image)
    if match is None:
        raise ConfigurationError(
            f"kubernetes.image: '{image}' is not of the form REPOSITORY:TAG or REPOSITORY@sha256:DIGEST; "
            "name a version: two servers of one untagged image may differ"
        )
    return match.groupdict()
