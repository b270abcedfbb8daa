"""The servers of this process: one slot each, as the planner sees them and as callers do."""

from collections.abc import Sequence

from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.packing import ServerView
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.scheduling.slot_watch import SlotWatch, close_all
from lorax_batch_scheduler.work import ChunkWork


class StaticFleet:
    """Slots with fixed URLs."""

    def __init__(self, watches: Sequence[SlotWatch]) -> None:
        self.watches = list(watches)

    def slots(self) -> list[Slot]:
        """Return the slots."""
        return [watch.slot for watch in self.watches]

    def servers(self) -> list[ServerStatus]:
        """Return how the servers are."""
        return [watch.status() for watch in self.watches]

    def slot_statuses(self) -> list[SlotStatus]:
        """Return how the slots are."""
        return [_slot_status(watch) for watch in self.watches]

    def url_of(self, server_id: str) -> str:
        """Return where a server is."""
        return self._watch(server_id).slot.url

    def runner_of(self, server_id: str) -> RowRunner | None:
        """Return what sends rows to a server; None while it has never answered."""
        return self._watch(server_id).runner

    @property
    def runners(self) -> list[RowRunner]:
        """What sends rows to the servers that have answered."""
        return [watch.runner for watch in self.watches if watch.runner is not None]

    def withdraw(self, job_id: str) -> None:
        """Send no more rows of a job."""
        for runner in self.runners:
            runner.withdraw(job_id)

    def give_up(self, work: ChunkWork) -> None:
        """Send no more rows of a chunk, wherever it is."""
        for runner in self.runners:
            runner.give_up(work)

    def activity(self, job_id: str) -> tuple[int, int]:
        """Return how many rows of a job are in flight, and how many wait to be sent again."""
        counted = [runner.job_activity(job_id) for runner in self.runners]
        return sum(in_flight for in_flight, _ in counted), sum(retrying for _, retrying in counted)

    async def close(self, grace_s: float) -> None:
        """Send no more rows, and let those in flight end."""
        for runner in self.runners:
            runner.drain()
        await close_all(self.watches, grace_s)

    def views(self, book: JobBook) -> tuple[ServerView, ...]:
        """Return the servers as the planner sees them."""
        adapters: dict[str, set[str]] = {}
        for known in book:
            for work in known.works.values():
                adapters.setdefault(work.server_id, set()).add(work.adapter)
        return tuple(_view(watch, adapters.get(watch.server_id, set())) for watch in self.watches)

    def other_server(self, work: ChunkWork, known: KnownJob, book: JobBook) -> str | None:
        """Choose the least loaded ready server for a chunk, rather another than the one that returned it."""
        fit = [
            (view.server_id in work.refused_by, view.server_id == work.server_id, view.load, view.server_id)
            for view in self.views(book)
            if view.base_model_id == known.job.base_model_id and view.state is ServerState.READY
        ]
        return min(fit)[3] if fit else None

    def _watch(self, server_id: str) -> SlotWatch:
        return next(watch for watch in self.watches if watch.server_id == server_id)


def _view(watch: SlotWatch, working_on: set[str]) -> ServerView:
    status, runner = watch.status(), watch.runner
    queued = runner.queued_rows if runner is not None else 0
    wanted = max(runner.look_ahead_rows - queued, 0) if runner is not None and runner.wants_work else 0
    return ServerView(
        server_id=status.server_id,
        url=status.url,
        state=status.state,
        reason=status.reason,
        base_model_id=status.base_model_id,
        wanted_rows=wanted,
        load=(queued + status.in_flight) / max(status.in_flight_limit, 1),
        working_on=frozenset(working_on),
        warm=frozenset(status.warm_adapters),
    )


def _slot_status(watch: SlotWatch) -> SlotStatus:
    server = watch.status()
    return SlotStatus(
        slot=watch.slot,
        server_ids=(watch.server_id,) if watch.runner is not None else (),
        reason=server.reason if watch.runner is None else "runs what its URL hosts",
        update_time=server.update_time,
    )
