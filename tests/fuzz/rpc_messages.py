"""Random messages of any type, from its descriptor: what the contract gains is fuzzed from then on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from lorax_batch.v1 import batch_inference_pb2, datasets_pb2, exports_pb2, fleet_pb2, webhooks_pb2

from tests.fuzz.mutations import mutate
from tests.fuzz.odd_values import ODD_FLOATS, ODD_INTEGERS, ODD_TEXTS

CONTRACT: Final = (batch_inference_pb2, datasets_pb2, exports_pb2, fleet_pb2, webhooks_pb2)
_MAX_KNOWN: Final = 200
_Field = FieldDescriptor


def methods() -> Iterator[MethodDescriptor]:
    """Yield every method of every service."""
    for module in CONTRACT:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


@dataclass(slots=True, kw_only=True)
class MessageMaker:
    """Makes messages out of odd values, and of names that the service knows."""

    chance: Random
    known: list[str] = field(default_factory=list)
    """Ids, names and tokens that answers have told."""
    _decent: bool = False

    def learn(self, message: Message) -> None:
        """Remember the texts of an answer that a request may name."""
        for name, value in _fields_of(message):
            if isinstance(value, str) and value and name.endswith(("_id", "name", "_token", "retry_of")):
                if value not in self.known:
                    self.known.append(value)
            elif isinstance(value, Message):
                self.learn(value)
            elif name in {"jobs", "datasets", "slots", "servers", "exports", "webhooks", "deliveries"}:
                for item in value[:5]:
                    self.learn(item)
        del self.known[:-_MAX_KNOWN]

    def forget(self, name: str) -> None:
        """Name something no more: it is gone."""
        if name in self.known:
            self.known.remove(name)

    def raw(self, descriptor: Descriptor) -> bytes:
        """Return a request on the wire: now and then with unknown fields, damaged, or of no message at all."""
        chance = self.chance
        kind = chance.randrange(20)
        if kind == 0:
            return chance.randbytes(chance.choice((1, 10, 300)))
        raw = self.make(descriptor).SerializeToString()
        if kind == 1:
            return mutate(raw, chance)
        return raw + _UNKNOWN_FIELDS if kind == 2 else raw

    def make(self, descriptor: Descriptor) -> Message:
        """Return a message with some of its fields, every third one such as a decent client sends."""
        self._decent = self.chance.random() < 0.4
        return self._message(descriptor, 0)

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        share = 0.1 if self._decent else self.chance.choice((0.2, 0.5, 0.9))
        for one in descriptor.fields:
            if self.chance.random() < (0.95 if one.name in _NEEDED else share):
                self._fill(message, one, depth)
        return message

    def _fill(self, message: Any, one: FieldDescriptor, depth: int) -> None:
        if one.is_repeated and one.message_type is not None and one.message_type.GetOptions().map_entry:
            keys, values = one.message_type.fields_by_name["key"], one.message_type.fields_by_name["value"]
            for _ in range(self._length()):
                getattr(message, one.name)[self._value(keys)] = self._value(values)
        elif one.is_repeated and one.message_type is not None:
            for _ in range(self.chance.randrange(3) if depth < 4 else 0):
                getattr(message, one.name).add().CopyFrom(self._message(one.message_type, depth + 1))
        elif one.is_repeated:
            getattr(message, one.name).extend(self._value(one) for _ in range(self._length()))
        elif one.message_type is not None:
            if depth < 5:
                getattr(message, one.name).CopyFrom(self._message(one.message_type, depth + 1))
        else:
            setattr(message, one.name, self._value(one))

    def _length(self) -> int:
        if self._decent:
            return 1
        return self.chance.choice((0, 1, 1, 2, 3, 65, 101, 1_001, 20_000 if self.chance.random() < 0.1 else 5))

    def _value(self, one: FieldDescriptor) -> Any:
        chance = self.chance
        if one.type == _Field.TYPE_STRING:
            return self._text(one)
        if one.type == _Field.TYPE_BYTES:
            return chance.choice((b"", b"x", b"{}\n", b'{"custom_id":"a"}\n', bytes(70_000), chance.randbytes(100)))
        if one.type == _Field.TYPE_BOOL:
            return chance.random() < 0.5
        if one.type == _Field.TYPE_ENUM:
            assert one.enum_type is not None
            numbers = [value.number for value in one.enum_type.values]
            return chance.choice(numbers if self._decent else [*numbers, 99, -1, 2**31 - 1, -(2**31)])
        if self._decent and one.type not in (_Field.TYPE_STRING, _Field.TYPE_BOOL):
            # Seconds of a moment to come, or something small.
            return 1_900_000_000 if one.name == "seconds" else chance.choice((0, 1))
        if one.type in (_Field.TYPE_DOUBLE, _Field.TYPE_FLOAT):
            return chance.choice((*ODD_FLOATS, float("nan"), float("inf"), float("-inf"), chance.random()))
        low, high = _RANGES[one.type]
        fitting = [number for number in (*ODD_INTEGERS, chance.randrange(300), 1_900_000_000) if low <= number <= high]
        return chance.choice(fitting)

    def _text(self, one: FieldDescriptor) -> str:
        chance = self.chance
        likely = _LIKELY.get(one.name, ())
        kind = 0 if self._decent else chance.randrange(6)
        if kind < 3 and likely:
            return chance.choice(likely)
        if (one.name in _PREFIXES or 0 < kind < 4) and self.known:
            prefix = _PREFIXES.get(one.name, "")
            known = chance.choice([name for name in self.known if name.startswith(prefix)] or self.known)
            return known if chance.random() < 0.95 else known[:-1] + "\0"
        if self._decent:
            return ""
        if kind == 4 and chance.random() < 0.1:
            return chance.choice("xä\U0001f600\n'") * chance.choice((10_000, 300_000))
        return chance.choice(ODD_TEXTS)


_RANGES: Final = {
    _Field.TYPE_INT32: (-(2**31), 2**31 - 1),
    _Field.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _Field.TYPE_UINT32: (0, 2**32 - 1),
    _Field.TYPE_INT64: (-(2**63), 2**63 - 1),
    _Field.TYPE_SINT64: (-(2**63), 2**63 - 1),
    _Field.TYPE_UINT64: (0, 2**64 - 1),
}
_LIKELY: Final[dict[str, tuple[str, ...]]] = {
    "base_model": ("mistral-7b-instruct-v0-2", "mistral-7b-instruct-v0-2", "llama-2-7b"),
    "quantization": ("awq", ""),
    "paths": ("priority", "deadline", "labels"),
    "request_id": ("once", "twice"),
    "page_token": ("", ""),
    "sha256": ("0" * 64, "E" * 64, "", ""),
    "destination": ("s3://theirs/out", "s3://theirs/out/../in", "s3://", "/etc", "s3://\u0000/"),
    "path": ("s3://theirs/in/x", "/etc/passwd", "/", "/proc/self/mem", "/dev/zero", "relative", "/\u0000"),
}
_PREFIXES: Final = {
    "job_id": "job_", "job_ids": "job_", "dataset_id": "ds_", "dataset": "ds_", "slot_id": "slot_",
    "export_id": "exp_",
}  # fmt: skip
"""What the names begin with that a field most likely means."""
_NEEDED: Final = {*_PREFIXES, "job", "server_config", "base_model", "update_mask", "paths", "path"}
"""Whoever names nothing gets no further than that."""
_UNKNOWN_FIELDS: Final = b"\xfa\x3f\x03abc" + b"\xf8\x3f\xff\xff\xff\xff\x0f" + b"\xf1\x3f" + bytes(8)


def _fields_of(message: Message) -> Iterator[tuple[str, Any]]:
    for descriptor, value in message.ListFields():
        yield descriptor.name, value
