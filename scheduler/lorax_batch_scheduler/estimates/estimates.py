"""What the scheduler is told by committed rows and started servers, and what it asks before it plans."""

from collections.abc import Iterable, Mapping
from typing import Final

from lorax_batch_scheduler.estimates.busy_meter import BusyMeter
from lorax_batch_scheduler.estimates.calibration import Calibration
from lorax_batch_scheduler.estimates.family_facts import FamilyFacts, Gpu
from lorax_batch_scheduler.estimates.learned import Subject, Topic
from lorax_batch_scheduler.estimates.learned_book import LearnedBook
from lorax_batch_scheduler.estimates.server_speed import (
    ServedRows,
    Work,
    cold_start_s,
    learn_cold_start,
    learn_speed,
    speed_share,
    tokens_per_second,
    work_left,
)
from lorax_batch_scheduler.estimates.token_lengths import JobLeft, RowsEnded, TokensLeft, learn_lengths, tokens_left

UNKNOWN_FACTS: Final = FamilyFacts()


class Estimates:
    """All that is learned, behind one door; synchronous and without I/O."""

    def __init__(self, book: LearnedBook | None = None) -> None:
        self.book = book if book is not None else LearnedBook()
        self.calibration = Calibration(self.book)
        self._facts: dict[str, FamilyFacts] = {}
        self._meters: dict[str, tuple[str, Gpu, BusyMeter]] = {}

    def __repr__(self) -> str:
        return f"<Estimates of {len(self._facts)} families, {len(self.book)} things learned>"

    def know_family(self, family: str, facts: FamilyFacts) -> None:
        """Say how large the model of a family is; may be repeated."""
        self._facts[family] = facts

    # --- what has happened ---

    def rows_ended(self, ended: RowsEnded, *, server_id: str = "") -> None:
        """Rows were committed; `server_id`: the server that ran them, if its speed is to be learned."""
        learn_lengths(self.book, ended)
        watched = self._meters.get(server_id)
        if watched is not None and ended.row_count > 0:
            reserved = ended.prompt_tokens + max(ended.allowed_tokens, ended.completion_tokens)
            watched[2].ended(
                ServedRows(
                    row_count=ended.row_count,
                    prompt_tokens=ended.prompt_tokens,
                    completion_tokens=ended.completion_tokens,
                    reserved_tokens=reserved,
                    with_adapters=bool(ended.adapter),
                )
            )

    def server_seen(
        self,
        server_id: str,
        family: str,
        gpu: Gpu,
        *,
        now: float,
        in_flight: int,
        fullness: float,
        window_part: float = 1.0,
    ) -> None:
        """Say how busy a ready server is; to be called about once a second.

        `now`: monotonic seconds. `fullness`: what is in flight of what may be; `window_part`: what may be of what
        it holds.
        """
        watched = self._meters.get(server_id)
        if watched is None or watched[:2] != (family, gpu):
            watched = self._meters[server_id] = family, gpu, BusyMeter(self._facts.get(family, UNKNOWN_FACTS), gpu)
        measured = watched[2].look(now, in_flight=in_flight, fullness=fullness, window_part=window_part)
        if measured is not None:
            learn_speed(
                self.book,
                family=family,
                gpu=gpu,
                server_id=server_id,
                busy_s=measured.busy_s,
                expected_s=measured.expected_s,
            )

    def server_ready(self, family: str, gpu_kind: str, *, seconds: float) -> None:
        """A server that we started has become ready after so long. Not for one that was adopted."""
        learn_cold_start(self.book, family, gpu_kind, seconds)

    def server_gone(self, server_id: str) -> None:
        """Forget a server; what was learned of its family stays."""
        watched = self._meters.pop(server_id, None)
        if watched is not None:
            self.book.forget(Subject(topic=Topic.SERVER_SLOWNESS, family=watched[0], detail=server_id))

    # --- what is asked ---

    def tokens_left(self, job: JobLeft) -> TokensLeft:
        """Return the tokens that the rows left of a job will take."""
        return tokens_left(self.book, job)

    def work(self, job: JobLeft, gpus: Iterable[Gpu]) -> dict[str, Work]:
        """Return by GPU kind what a job still takes there; give one GPU a kind, the smallest where they differ."""
        tokens = tokens_left(self.book, job)
        facts = self._facts.get(job.family, UNKNOWN_FACTS)
        return {gpu.kind: work_left(self.book, job.family, facts, gpu, tokens) for gpu in gpus}

    def setup_s(self, family: str, gpus: Iterable[Gpu]) -> dict[str, float]:
        """Return by GPU kind how long a start of the family takes: `FamilyView.setup_s`."""
        facts = self._facts.get(family, UNKNOWN_FACTS)
        return {gpu.kind: cold_start_s(self.book, family, facts, gpu) for gpu in gpus}

    def tokens_per_second(self, job: JobLeft, gpu: Gpu) -> float:
        """Return the tokens a second that one full server does of the rows of a job."""
        facts = self._facts.get(job.family, UNKNOWN_FACTS)
        return tokens_per_second(self.book, job.family, facts, gpu, tokens_left(self.book, job))

    def speeds(self, servers: Mapping[str, tuple[str, str]]) -> dict[str, float]:
        """Return how fast servers are against others of their family and kind; given by id: (family, GPU kind)."""
        return {
            server_id: speed_share(self.book, family, kind, server_id) for server_id, (family, kind) in servers.items()
        }
