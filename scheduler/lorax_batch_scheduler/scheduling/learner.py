"""Learns from what this process does: rows that are committed, servers that are busy, servers that become ready."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.chunk import EMBEDDINGS
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.estimates import Estimates, FamilyFacts, Gpu, RowsEnded
from lorax_batch_scheduler.fleet import ServerState, Slot
from lorax_batch_scheduler.job import RUNNABLE_STATES
from lorax_batch_scheduler.launching.memory_need import kv_bytes_per_token, weight_bytes
from lorax_batch_scheduler.scheduling.committer import Committed, CommittedRows
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.work import ChunkWork

LOOK_INTERVAL_S: Final = 0.5
"""How busy servers are is noted so often."""

_log = structlog.get_logger()


class Learner:
    """Feeds the estimates."""

    def __init__(self, estimates: Estimates, *, model_of: Callable[[str], BaseModel], clock: Clock) -> None:
        """`model_of`: what the catalogue says of a base model, by its name."""
        self._estimates = estimates
        self._model_of = model_of
        self._clock = clock
        self._looked_at = float("-inf")
        self._seen: set[str] = set()
        self._families: set[str] = set()

    def meet_family(self, family: str, base_model_id: str, quantization: str) -> None:
        """Take note of how large the model of a family is."""
        if family in self._families:
            return
        self._families.add(family)
        model = self._model_of(base_model_id)
        plain = FamilyFacts.of(model)
        self._estimates.know_family(
            family,
            FamilyFacts(
                parameters=plain.parameters,
                weight_bytes=weight_bytes(model, quantization) or plain.weight_bytes,
                kv_bytes_per_token=kv_bytes_per_token(model, quantization) or plain.kv_bytes_per_token,
            ),
        )

    def rows_committed(self, committed: Committed, book: JobBook) -> None:
        """Learn lengths and speed from rows whose results were just stored; before their chunks are taken back."""
        for ended in committed.succeeded:
            known = book.get(ended.lease.job_id)
            if known is not None:
                self._learn(known, ended)
        for job_id in committed.complete_jobs:
            known = book.get(job_id)
            if known is not None and known.job.state in RUNNABLE_STATES:  # else it was cut short
                self._score(job_id)

    def look(self, fleet: Fleet, book: JobBook) -> None:
        """Note how busy servers are; to be called often, and does something only now and then."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_INTERVAL_S:
            return
        self._looked_at = now
        served = _families_served(book)
        there: set[str] = set()
        for member in fleet.members:
            status = member.status()
            family = member.family or served.get(member.server_id, "")
            runner = member.runner
            if status.state is not ServerState.READY or not family or runner is None:
                continue
            there.add(member.server_id)
            self._estimates.server_seen(
                member.server_id,
                family,
                gpu_of(member.watch.slot),
                now=now,
                in_flight=status.in_flight,
                fullness=runner.fullness,
                window_part=runner.window_part,
            )
        members = {member.server_id for member in fleet.members}
        for server_id in self._seen - members:
            self._estimates.server_gone(server_id)
        self._seen = (self._seen & members) | there

    def _score(self, job_id: str) -> None:
        for scored in self._estimates.calibration.ended(job_id, self._clock.monotonic()):
            _log.info(
                "end_was_foretold",
                job_id=job_id,
                at_share=scored.stage,
                within=scored.within,
                early_s=round(scored.early_s),
                late_s=round(scored.late_s),
                took_s=round(scored.took_s),
            )

    def _learn(self, known: KnownJob, ended: CommittedRows) -> None:
        for work in known.works_of(ended.lease.chunk_no):
            self._learn_of(known, work, ended)

    def _learn_of(self, known: KnownJob, work: ChunkWork, ended: CommittedRows) -> None:
        """Learn from the rows that one server ended; others may have parts of the same chunk."""
        rows = [row for row in ended.rows if work.rows >> row & 1]
        part = len(rows) / len(ended.rows) if ended.rows else 0.0
        chunk, default = work.chunk, known.job.default_max_tokens
        allowed = 0 if chunk.endpoint == EMBEDDINGS else sum(chunk.max_tokens[row] or default for row in rows)
        self.meet_family(known.family, known.job.base_model_id, known.job.server_config.quantization)
        self._estimates.rows_ended(
            RowsEnded(
                family=known.family,
                adapter=work.adapter,
                row_count=len(rows),
                prompt_tokens=round(ended.prompt_tokens * part),
                completion_tokens=round(ended.completion_tokens * part),
                estimated_prompt_tokens=sum(chunk.prompt_tokens[row] for row in rows),
                allowed_tokens=allowed,
            ),
            server_id=work.server_id,
        )


def gpu_of(slot: Slot) -> Gpu:
    """Return what a slot's servers run on, as far as is known."""
    return Gpu(kind=slot.gpu_kind, memory_bytes=slot.memory_bytes)


def _families_served(book: JobBook) -> dict[str, str]:
    """Return by server the family that most of the chunks given to it are of: static ones have none of their own."""
    counts: dict[str, Counter[str]] = {}
    for known in book:
        for work in known.works:
            counts.setdefault(work.server_id, Counter())[known.family] += 1
    return {server_id: min(each.items(), key=lambda item: (-item[1], item[0]))[0] for server_id, each in counts.items()}
