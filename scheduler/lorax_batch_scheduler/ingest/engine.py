"""Bytes in, validated rows in chunks out: the whole of ingest, synchronous, in bounded memory."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from lorax_batch_scheduler.dataset import DatasetSummary, InvalidLine, ModelCount, OnInvalid
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ingest.custom_ids import CustomIds
from lorax_batch_scheduler.ingest.decompression import Decompression
from lorax_batch_scheduler.ingest.fault import Code, InvalidFileError, InvalidRowError
from lorax_batch_scheduler.ingest.groups import RowGroups
from lorax_batch_scheduler.ingest.invalid_lines import InvalidLines, OnInvalidLine
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader, find_custom_id
from lorax_batch_scheduler.ingest.lines import LineSplitter
from lorax_batch_scheduler.ingest.outcome import IngestOutcome
from lorax_batch_scheduler.ingest.packs import NoPacks, PackWriter
from lorax_batch_scheduler.ingest.removal import LineSet, without_lines
from lorax_batch_scheduler.ingest.request import Row, encode

_MAX_MODELS_LISTED: Final = 1_000


class Ingest:
    """One dataset on its way in: `feed` all its bytes, then `finish`, then `close` in any case.

    *Resources*: files in `scratch`, which must be an empty directory; `close` leaves only the packs.
    """

    def __init__(
        self,
        scratch: Path,
        limits: IngestLimits,
        on_invalid: OnInvalid,
        *,
        check_only: bool = False,
        listener: OnInvalidLine | None = None,
    ) -> None:
        """With `check_only`, no packs are written; `listener` is told of every invalid line."""
        self._scratch = scratch
        self._limits = limits
        self._on_invalid = on_invalid
        self._packs = None if check_only else PackWriter(scratch, limits.pack_bytes)
        sink = self._packs or NoPacks()
        self._digest = hashlib.sha256()
        self._byte_count = 0
        self._decompression = Decompression(limits.max_decompressed_bytes)
        self._splitter = LineSplitter(limits.max_line_bytes)
        self._reader = LineReader(limits)
        self._groups = RowGroups(
            sink, scratch, max_groups=limits.max_groups, max_buffered_bytes=limits.max_buffered_bytes
        )
        self._invalid = InvalidLines(sink, listener)
        self._custom_ids = CustomIds(scratch)
        self._line = 0
        self._blank_count = 0
        self._broken: InvalidFileError | None = None

    @failpoint(before="ingest.before_feed", after="ingest.after_feed")
    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        self._digest.update(block)
        self._byte_count += len(block)
        if self._broken is not None:
            return
        excess = max(self._byte_count - self._limits.max_input_bytes, 0)
        try:
            for plain in self._decompression.feed(block[: len(block) - excess]):
                self._take_lines(self._splitter.feed(plain))
            if excess:
                message = f"the file has more than {self._limits.max_input_bytes} bytes: split it"
                raise InvalidFileError(Code.FILE_TOO_LARGE, message)
        except InvalidFileError as error:
            self._broken = error

    @failpoint(before="ingest.before_grouped", after="ingest.after_grouped")
    def finish(self) -> IngestOutcome:
        """Take the end of the file and return what became of it."""
        try:
            if self._broken is None:
                for plain in self._decompression.finish():
                    self._take_lines(self._splitter.feed(plain))
                self._take_lines(self._splitter.finish())
            if self._broken is None and self._row_count() == 0:
                self._broken = InvalidFileError(Code.EMPTY_FILE, "the file holds no rows: write one JSON object a line")
        except InvalidFileError as error:
            self._broken = error
        if self._broken is not None:
            line = InvalidLine(line=self._line + 1, code=self._broken.code, param="", message=self._broken.message)
            self._invalid.add(line, None)
            self._give_up_packs()
        duplicates = self._refuse_duplicates()
        self._groups.finish()
        self._invalid.flush()
        if duplicates and self._packs is not None:
            self._packs = without_lines(self._packs, duplicates, self._scratch, self._limits.pack_bytes)
        return self._outcome()

    def close(self) -> None:
        """Delete what lies in the scratch directory beside the packs."""
        self._groups.close()
        self._custom_ids.close()
        if self._packs is not None:
            self._packs.close()

    def _take_lines(self, lines: list[bytes]) -> None:
        read, add, max_line_bytes = self._reader.read, self._groups.add, self._limits.max_line_bytes
        number = self._line
        custom_ids: list[bytes] = []
        room = self._limits.max_lines - number
        for line in lines if len(lines) <= room else lines[:room]:
            number += 1
            row = read(line) if len(line) <= max_line_bytes else self._long(line)
            if type(row) is Row:
                row.line = number
                # Only a schema can be longer as we write it than as it came.
                if row.schema_hash and len(row.tail) > max_line_bytes:
                    row = _refused(row, self._too_long())
                elif add(row):
                    custom_ids.append(row.custom_id)
                    continue
                else:
                    row = _refused(row, _too_many_groups(row, self._limits.max_groups))
            self._line = number
            custom_ids.append(self._refuse(row) if isinstance(row, BadLine) else b"")
            self._blank_count += row is None
        self._line = number
        self._custom_ids.add_lines(custom_ids)
        self._custom_ids.relieve()
        if len(lines) > room:
            message = f"the file has more than {self._limits.max_lines} lines: {self._limits.lines_way_out}"
            raise InvalidFileError(Code.FILE_TOO_LARGE, message)

    def _long(self, line: bytes) -> Row | BadLine | None:
        """Read a line that is too long, unless a carriage return makes it so."""
        if line.endswith(b"\r") and len(line) == self._limits.max_line_bytes + 1:
            return self._reader.read(line[:-1])
        return BadLine(self._too_long(), find_custom_id(line))

    def _too_long(self) -> InvalidRowError:
        limit = self._limits.max_line_bytes
        return InvalidRowError(
            Code.LINE_TOO_LONG, "", f"the line has more than {limit} bytes, which a server would refuse: shorten it"
        )

    def _refuse(self, bad: BadLine) -> bytes:
        """Count an invalid line; return its id for the search for duplicates."""
        error = bad.error
        line = InvalidLine(line=self._line, code=error.code, param=error.param, message=error.message)
        self._invalid.add(line, bad.custom_id)
        if self._on_invalid is OnInvalid.FAIL:
            self._give_up_packs()
        return b"" if bad.custom_id is None else b"!" + encode(bad.custom_id)

    def _refuse_duplicates(self) -> LineSet:
        lines = LineSet(self._line)
        for line, first_line, custom_id in self._custom_ids.duplicates():
            lines.add(line)
            message = f"'custom_id' {custom_id} stands in line {first_line} already: give each row its own"
            invalid = InvalidLine(line=line, code=Code.DUPLICATE_CUSTOM_ID, param="custom_id", message=message)
            self._invalid.add(invalid, msgspec.json.decode(custom_id))
        if lines and self._on_invalid is OnInvalid.FAIL:
            self._give_up_packs()
        return lines

    def _give_up_packs(self) -> None:
        """The dataset can't be used: go on checking, but write no more chunks."""
        if self._packs is not None:
            self._packs.discard()
            self._packs = None
            self._groups.sink = self._invalid.sink = NoPacks()

    def _outcome(self) -> IngestOutcome:
        reason = self._reason()
        if reason:
            self._give_up_packs()
        if self._packs is not None:
            self._packs.close()
        entries = self._packs.entries if self._packs else []
        models: Counter[str] = Counter()
        prompt_tokens = 0
        counts = (
            [((e.endpoint, e.model, e.adapter_source), e.row_count, e.prompt_tokens) for e in entries if e.endpoint]
            if entries
            else self._groups.counts()
        )
        for (_, model, _), rows, tokens in counts:
            models[model] += rows
            prompt_tokens += tokens
        summary = DatasetSummary(
            sha256=self._digest.hexdigest(),
            byte_count=self._byte_count,
            row_count=self._row_count(),
            invalid=self._invalid.report(),
            prompt_tokens=prompt_tokens,
            models=[ModelCount(model, rows) for model, rows in models.most_common(_MAX_MODELS_LISTED)],
            model_count=len(models),
        )
        packs = [path.name for path in self._packs.paths] if self._packs else []
        return IngestOutcome(summary=summary, reason=reason, chunks=entries, packs=packs)

    def _row_count(self) -> int:
        return self._line - self._blank_count

    def _reason(self) -> str:
        if self._broken is not None:
            return self._broken.message
        report = self._invalid.report()
        if not report.line_count:
            return ""
        kinds = ", ".join(f"{code.line_count} {code.code}" for code in report.codes[:5])
        counts = f"{report.line_count} of {self._row_count()} lines are invalid ({kinds})"
        if report.line_count == self._row_count():
            return f"{counts}: no row is left to run"
        if self._on_invalid is OnInvalid.FAIL:
            return f"{counts}: correct them, or upload with on_invalid SKIP"
        return ""


def _refused(row: Row, error: InvalidRowError) -> BadLine:
    return BadLine(error, msgspec.json.decode(row.custom_id, type=str))


def _too_many_groups(row: Row, limit: int) -> InvalidRowError:
    message = f"'{row.key[1]}' is one adapter more than the {limit} that one dataset may name: split the dataset"
    return InvalidRowError(Code.TOO_MANY_ADAPTERS, "body.model", message)
