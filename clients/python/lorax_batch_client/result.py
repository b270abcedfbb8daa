"""Result rows as the service streams them."""

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lorax_batch.v1 import batch_inference_pb2


class ResultKind(enum.Enum):
    """Which of the two files a row belongs to."""

    OUTPUT = "output"
    """Rows that succeeded."""
    ERROR = "error"
    """Rows that did not."""

    def to_proto(self) -> batch_inference_pb2.ResultKind.ValueType:
        """Return its number in the contract."""
        return batch_inference_pb2.ResultKind.Value(f"RESULT_KIND_{self.name}")

    @classmethod
    def from_proto(cls, number: int) -> "ResultKind":
        """Return the one with that number in the contract."""
        return cls.ERROR if number == batch_inference_pb2.RESULT_KIND_ERROR else cls.OUTPUT


class ResultOrder(enum.Enum):
    """In which order rows are streamed."""

    COMPLETION = "completion"
    INPUT = "input"
    """By line of the dataset; only for a job that has ended."""

    def to_proto(self) -> batch_inference_pb2.ResultOrder.ValueType:
        """Return its number in the contract."""
        return batch_inference_pb2.ResultOrder.Value(f"RESULT_ORDER_{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One row of the dataset with its answer or its error."""

    offset: int
    """Its place in the stream: what to go on from."""
    kind: ResultKind
    data: dict[str, Any] = field(repr=False)
    """The whole line: `id`, `custom_id`, `response`, `error`."""

    @property
    def custom_id(self) -> str:
        """The caller's name of the row."""
        return str(self.data["custom_id"])

    @property
    def status_code(self) -> int | None:
        """The HTTP status of the answer; None when there was none."""
        response = self.data.get("response")
        return response["status_code"] if response else None

    @property
    def body(self) -> Any:  # noqa: ANN401  # whatever the model server answered
        """The body of the answer; None when there was none."""
        response = self.data.get("response")
        return response["body"] if response else None

    @property
    def error(self) -> dict[str, Any] | None:
        """The error of the row; None when it succeeded."""
        return self.data.get("error")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultBlock:
    """Some rows of one kind as packed JSON lines: the cheap way to copy results to a file."""

    kind: ResultKind
    first_offset: int
    row_count: int
    lines: bytes = field(repr=False)
    """JSON lines, each ending in a newline."""

    @property
    def last_offset(self) -> int:
        """The offset of its last row: what to go on from."""
        return self.first_offset + self.row_count - 1

    def rows(self) -> Iterator[ResultRow]:
        """Yield its rows, parsed."""
        # Not splitlines(): it would also cut at a lone carriage return, which JSON allows between tokens.
        for place, line in enumerate(self.lines.removesuffix(b"\n").split(b"\n")):
            yield ResultRow(offset=self.first_offset + place, kind=self.kind, data=json.loads(line))
