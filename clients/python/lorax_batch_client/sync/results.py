"""Calls about results."""

import os
from collections.abc import Iterator

from lorax_batch.v1 import batch_inference_pb2_grpc

from lorax_batch_client.download_cursor import DownloadCursor
from lorax_batch_client.job import Job, ResultFile
from lorax_batch_client.part_file import part_file
from lorax_batch_client.result import ResultBlock, ResultKind, ResultOrder, ResultRow
from lorax_batch_client.result_cursor import ResultCursor
from lorax_batch_client.sync.connection import Connection
from lorax_batch_client.watch_cursor import job_id_of


class ResultCalls(Connection):
    """Result rows while a job runs, and the finished files."""

    @property
    def _results(self) -> batch_inference_pb2_grpc.BatchInferenceStub:
        return batch_inference_pb2_grpc.BatchInferenceStub(self._channel)

    def results(
        self,
        job: Job | str,
        *,
        follow: bool = True,
        only: ResultKind | None = None,
        order: ResultOrder = ResultOrder.COMPLETION,
        after_offset: int | None = None,
    ) -> Iterator[ResultRow]:
        """Yield the result rows of a job, each once, over as many connections as it takes.

        With `follow` the iteration stays until the job has ended; without, it ends with the rows that are there now.
        `only` leaves out the other kind; `after_offset` goes on behind a row that was received before. What
        arrived is checked against the service's SHA-256.
        """
        blocks = self.result_blocks(job, follow=follow, only=only, order=order, after_offset=after_offset)
        for block in blocks:
            yield from block.rows()

    def result_blocks(
        self,
        job: Job | str,
        *,
        follow: bool = True,
        only: ResultKind | None = None,
        order: ResultOrder = ResultOrder.COMPLETION,
        after_offset: int | None = None,
    ) -> Iterator[ResultBlock]:
        """Yield the rows as packed JSON lines of about 256 KiB, unparsed; else as `results`."""
        cursor = ResultCursor(job_id_of(job), after_offset=after_offset, follow=follow, only=only, order=order)
        return self._read(lambda: self._results.StreamResults, cursor)

    def download(
        self, job: Job | str, output: str | os.PathLike[str], *, errors: str | os.PathLike[str] | None = None
    ) -> ResultFile:
        """Write the output file of an ended job, and its error file when `errors` says where.

        A file appears under its name only when size and SHA-256 are right; one that was there is replaced.
        """
        if errors is not None:
            self._download_file(job, ResultKind.ERROR, errors)
        return self._download_file(job, ResultKind.OUTPUT, output)

    def _download_file(self, job: Job | str, kind: ResultKind, path: str | os.PathLike[str]) -> ResultFile:
        cursor = DownloadCursor(job_id_of(job), kind)
        with part_file(path) as file:
            for data in self._read(lambda: self._results.DownloadResults, cursor):
                file.write(data)
        return cursor.file

    def download_bytes(self, job: Job | str, kind: ResultKind = ResultKind.OUTPUT) -> Iterator[bytes]:
        """Yield the bytes of one file of an ended job; raises at the end when they are not what the service holds."""
        return self._read(lambda: self._results.DownloadResults, DownloadCursor(job_id_of(job), kind))
