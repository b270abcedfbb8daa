"""Writes docs/api.md, made from the .proto files and from the table of errors that the service answers with.

With `--check`, says whether it is fresh and writes nothing.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lorax_batch_server.app  # noqa: F401 - the wiring imports every module, and with them all errors
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from lorax_batch_server.status import documented_errors

PACKAGE: Final = "lorax_batch.v1"
_ROOT: Final = Path(__file__).resolve().parent.parent
_PROTOS: Final = _ROOT / "protos"
_PAGE: Final = _ROOT / "docs" / "api.md"
_FIRST: Final = ("datasets", "batch_inference", "exports", "fleet")
"""Services in the order in which a caller needs them; others follow by name."""
_MESSAGE, _ENUM, _SERVICE, _FIELD, _VALUE, _METHOD = 4, 5, 6, 2, 2, 2
"""Field numbers of descriptor.proto, of which the paths of source locations are made."""
_Path = tuple[int, ...]

_HEAD: Final = """\
# API

<!-- Made by `make api-docs` from protos/lorax_batch/v1: change the comments there. -->

Package `lorax_batch.v1` over gRPC; [`protos/lorax_batch/v1`](../protos/lorax_batch/v1) has the files to generate stubs
from. `grpc.health.v1` and server reflection are on beside it: `grpcurl -plaintext localhost:50051 list`. A field that
is not set has the zero of its type; where a type is *optional*, the two are told apart.
"""
_ERRORS: Final = """\
## Errors

Every error carries `google.rpc.Status` in the trailer `grpc-status-details-bin`: an `ErrorInfo` with the domain
`lorax-batch` and a stable `reason`, and the details named here. Where there is a `RetryInfo`, waiting that long and
calling again helps.

| code | reason | meaning | details |
|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class _File:
    proto: FileDescriptorProto
    comments: Mapping[_Path, str]

    @property
    def stem(self) -> str:
        return Path(self.proto.name).stem


def main() -> None:
    """Write the page, or look at it."""
    files = [_File(proto, _comments(proto)) for proto in _compile().file if proto.package == PACKAGE]
    page = _joined(_page(files)).rstrip("\n") + "\n"
    if "--check" not in sys.argv[1:]:
        _PAGE.write_text(page, encoding="utf-8")
    elif _PAGE.read_text(encoding="utf-8") != page:
        sys.exit("docs/api.md is not what the .proto files and the errors give: run 'make api-docs' and commit it")


def _compile() -> FileDescriptorSet:
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        sources = sorted(str(path) for path in (_PROTOS / "lorax_batch/v1").glob("*.proto"))
        options = ["--include_source_info", f"--descriptor_set_out={out.name}", f"-I{_PROTOS}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *sources], check=True)
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _comments(proto: FileDescriptorProto) -> dict[_Path, str]:
    """Return what stands above (or behind) each declaration, by its path."""
    return {
        tuple(location.path): "\n".join(line.strip() for line in text.strip().splitlines())
        for location in proto.source_code_info.location
        if (text := location.leading_comments or location.trailing_comments)
    }


def _page(files: Sequence[_File]) -> Iterator[str]:
    yield _HEAD
    with_services = sorted((file for file in files if file.proto.service), key=_service_order)
    for file in with_services:
        for service in file.proto.service:
            calls = ", ".join(f"[{method.name}](#{method.name.lower()})" for method in service.method)
            yield f"- [{service.name}](#{service.name.lower()}): {calls}"
    yield "- [Messages](#messages), [enumerations](#enumerations), [errors](#errors)\n"
    for file in with_services:
        yield from _services(file)
    yield "## Messages\n"
    yield from (section for _, section in sorted(_messages(files, _request_names(files))))
    yield "## Enumerations\n"
    yield from (section for _, section in sorted(_enums(files)))
    yield from _errors()


def _service_order(file: _File) -> tuple[int, str]:
    return (_FIRST.index(file.stem) if file.stem in _FIRST else len(_FIRST), file.stem)


def _request_names(files: Sequence[_File]) -> set[str]:
    """Return the messages that stand beside their calls."""
    methods = [method for file in files for service in file.proto.service for method in service.method]
    return {name for method in methods for name in (method.input_type, method.output_type)}


def _services(file: _File) -> Iterator[str]:
    messages = {
        f".{PACKAGE}.{message.name}": (number, message) for number, message in enumerate(file.proto.message_type)
    }
    for number, service in enumerate(file.proto.service):
        yield f"## {service.name}\n"
        yield _paragraphs(file.comments.get((_SERVICE, number), ""))
        for index, method in enumerate(service.method):
            yield f"### {method.name}\n"
            yield f"`rpc {method.name}({_arrow(method)})`\n"
            yield _paragraphs(file.comments.get((_SERVICE, number, _METHOD, index), ""))
            for name in (method.input_type, method.output_type):
                if name in messages:
                    at, message = messages[name]
                    yield from _fields(file, (_MESSAGE, at), message, title=f"`{message.name}`")


def _arrow(method: MethodDescriptorProto) -> str:
    sides = ((method.client_streaming, method.input_type), (method.server_streaming, method.output_type))
    return ") returns (".join(("stream " if streams else "") + _short(name) for streams, name in sides)


def _messages(files: Sequence[_File], beside_calls: set[str]) -> Iterator[tuple[str, str]]:
    for file in files:
        for number, message in enumerate(file.proto.message_type):
            if f".{PACKAGE}.{message.name}" not in beside_calls:
                yield message.name, _joined(_message(file, (_MESSAGE, number), message, message.name))


def _message(file: _File, path: _Path, message: DescriptorProto, title: str) -> Iterator[str]:
    yield f"### {title}\n"
    yield _paragraphs(file.comments.get(path, ""))
    yield from _fields(file, path, message, title="")
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(file, (*path, 3, number), nested, f"{title}.{nested.name}")


def _fields(file: _File, path: _Path, message: DescriptorProto, *, title: str) -> Iterator[str]:
    lead = f"{title}: " if title else ""
    if title and (said := file.comments.get(path, "")):
        yield f"{lead}{_one_line(said)}\n"
        lead = ""
    if not message.field:
        if lead:
            yield f"{lead}no fields.\n"
        return
    if lead:
        yield f"{title}\n"
    yield "| field | type | meaning |\n|---|---|---|"
    for number, field in enumerate(message.field):
        said = _one_line(file.comments.get((*path, _FIELD, number), ""))
        yield f"| `{field.name}` | {_type(message, field)} | {_cell(_choice(message, field) + said)} |"
    yield "\n"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if field.type not in (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM):
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    else:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
                return f"map of {_type(nested, nested.field[0])} to {_type(nested, nested.field[1])}"
        name = _linked(field.type_name)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _linked(name: str) -> str:
    if name.startswith(f".{PACKAGE}."):
        return f"[{_short(name)}](#{_short(name).lower().replace('.', '')})"
    return f"`{name.removeprefix('.')}`"


def _short(name: str) -> str:
    return name.removeprefix(f".{PACKAGE}.")


def _choice(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if field.HasField("oneof_index") and not field.proto3_optional:
        return f"One of `{message.oneof_decl[field.oneof_index].name}`. "
    return ""


def _enums(files: Sequence[_File]) -> Iterator[tuple[str, str]]:
    for file in files:
        for number, enum in enumerate(file.proto.enum_type):
            yield enum.name, _joined(_enum(file, (_ENUM, number), enum))


def _enum(file: _File, path: _Path, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"### {enum.name}\n"
    yield _paragraphs(file.comments.get(path, ""))
    yield "| value | number | meaning |\n|---|---|---|"
    for number, value in enumerate(enum.value):
        said = _one_line(file.comments.get((*path, _VALUE, number), ""))
        yield f"| `{value.name}` | {value.number} | {_cell(said)} |"
    yield "\n"


def _errors() -> Iterator[str]:
    yield _ERRORS
    for error in documented_errors():
        details = ", ".join(f"`{name}`" for name in error.details)
        yield f"| {error.code.name} | `{error.reason}` | {_cell(_one_line(error.meaning))} | {details} |"


def _joined(parts: Iterator[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(part for part in parts if part))


def _paragraphs(text: str) -> str:
    return f"{text}\n" if text else ""


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip()


if __name__ == "__main__":
    main()
