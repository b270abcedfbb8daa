"""Writing down the rows that have failed."""

import msgspec

from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.running.queued_work import QueuedWork
from lorax_batch_scheduler.running.result_line import error_line
from lorax_batch_scheduler.work import ResultSink, RowOutcome


class RowFailures:
    """Turns failures into lines of the error file."""

    def __init__(self, sink: ResultSink) -> None:
        self._sink = sink

    def add(self, queued: QueuedWork, row: int, *, code: str, message: str, status: int = 0, body: bytes = b"") -> None:
        """Take down that a row has failed; `status` 0: no server has answered it."""
        work = queued.work
        if work.authorization is not None:
            message, body = REDACTOR.clean(message), REDACTOR.clean_bytes(body)
        line, custom_id = work.chunk.lines[row], work.chunk.custom_ids[row]
        text = error_line(queued.job_id, line, custom_id, code=code, message=message, status=status, body=body)
        error = RowError(line=line, custom_id=str(msgspec.json.decode(custom_id)), code=code, message=message)
        work.trouble.pop(row, None)
        self._sink.add(work.lease, row, line, text, RowOutcome.FAILED, 0, 0, error)

    def add_too_long(self, queued: QueuedWork, row: int, limits: ServerLimits) -> None:
        """Take down that a row's prompt fits into no answer of the server."""
        longest = [
            limit
            for limit in (limits.max_total_tokens, limits.max_input_length, limits.max_batch_total_tokens)
            if limit
        ]
        self.add(
            queued,
            row,
            code="context_length_exceeded",
            message=(
                f"the prompt is estimated at {queued.request.prompt_tokens[row]} tokens, but the server has room for "
                f"{min(longest, default=0)} tokens a row: shorten it, or use a server with a longer context"
            ),
        )
