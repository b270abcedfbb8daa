"""The servers of this process: on which slots of which hosts they run, who joins and who leaves."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.packing import ServerView, WaitingJob
from lorax_batch_scheduler.packing.giving import serves
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState, ServerHost
from lorax_batch_scheduler.scheduling.fleet_member import FleetMember
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.scheduling.server_lives import BaseModelOf, Nothing, OnReady, ServerLives, WatchFactory
from lorax_batch_scheduler.scheduling.server_view import view_of
from lorax_batch_scheduler.scheduling.server_watch import ServerWatch
from lorax_batch_scheduler.scheduling.start_failures import FailedStarts, StartFailures
from lorax_batch_scheduler.work import ChunkWork

LOOK_INTERVAL_S: Final = 1.0
"""Start timeouts and idle servers are noticed this late; what a host tells, at once."""
ADOPTED: Final = "it was there when the service began"
"""Why a server runs that an earlier life started: it knew more, and told nobody."""

_log = structlog.get_logger()


class Fleet:
    """Slots of all hosts, and the servers on them.

    *Resources*: `run` owns all tasks; `close` ends the work of all servers, not the servers.
    """

    def __init__(
        self,
        hosts: Sequence[ServerHost],
        *,
        make_watch: WatchFactory,
        clock: Clock,
        failures: StartFailures | None = None,
        keep_servers: bool = False,
        on_change: Nothing = lambda: None,
        on_ready: OnReady = lambda family, kind, seconds: None,
        base_model_of: BaseModelOf = lambda model: model,
    ) -> None:
        """`on_change`: a server is new, ready or gone.

        `on_ready`: a server of a family on a kind of GPU, started in this life, is ready so many seconds after that.
        """
        self._hosts = list(hosts)
        self._clock = clock
        self._keep_servers = keep_servers
        self._slots = {slot.slot_id: slot for host in hosts for slot in host.slots}
        self._host_of = {slot.slot_id: host for host in hosts for slot in host.slots}
        self._news = asyncio.Event()
        self._lives = ServerLives(
            self._slots,
            make_watch=make_watch,
            clock=clock,
            failures=failures or StartFailures(first_pause_s=5.0, max_failed_starts=5),
            hear=self._news.set,
            on_change=on_change,
            on_ready=on_ready,
            base_model_of=base_model_of,
        )

    @classmethod
    def empty(cls, clock: Clock) -> Self:
        """Return a fleet without any slot."""

        def no_watch(launched: LaunchedServer, slot: Slot) -> ServerWatch:
            raise AssertionError(f"{launched} on {slot} of no host")

        return cls([], make_watch=no_watch, clock=clock)

    # --- what there is ---

    def slots(self) -> list[Slot]:
        """Return the slots."""
        return list(self._slots.values())

    @property
    def members(self) -> list[FleetMember]:
        """The servers with an address."""
        return list(self._lives.members.values())

    @property
    def failures(self) -> StartFailures:
        """Whose starts have failed."""
        return self._lives.failures

    @property
    def drained(self) -> Mapping[str, str]:
        """Slots that an operator has taken out of service, with the reason."""
        return self._lives.drained

    def servers(self) -> list[ServerStatus]:
        """Return how the servers are, also those without an address yet, and at fixed URLs that get no rows now."""
        known = [member.status() for member in self.members]
        return [*known, *self._lives.coming(self._hosts), *self._lives.away(self._hosts)]

    def slot_statuses(self) -> list[SlotStatus]:
        """Return what runs on each slot and why, also on those where nothing does."""
        now = self._clock.now()
        return [
            SlotStatus(
                slot=slot,
                server_ids=tuple(self._told_on(slot)),
                reason=self._slot_reason(slot),
                starts=self._lives.starts[slot.slot_id],
                failed_starts=self._lives.failed_starts[slot.slot_id],
                update_time=now,
            )
            for slot in self._slots.values()
        ]

    def _told_on(self, slot: Slot) -> Iterator[str]:
        for member in self.members:
            if member.watch.slot.slot_id == slot.slot_id and (member.runner is not None or not slot.is_fixed):
                yield member.server_id

    def on_slot(self, slot_id: str) -> list[LaunchedServer]:
        """Return the servers that a slot has, in whatever state but GONE."""
        servers = self._host_of[slot_id].servers
        return [each for each in servers if each.slot_id == slot_id and each.state is not LaunchState.GONE]

    def runner_of(self, server_id: str) -> RowRunner | None:
        """Return what sends rows to a server; None while it has never answered, and once it is gone."""
        member = self._lives.members.get(server_id)
        return member.runner if member is not None else None

    @property
    def runners(self) -> list[RowRunner]:
        """What sends rows to the servers that have answered."""
        return [member.runner for member in self.members if member.runner is not None]

    def views(self, book: JobBook) -> tuple[ServerView, ...]:
        """Return the servers as the planner of rows sees them."""
        adapters: dict[str, set[str]] = {}
        for known in book:
            for work in known.works:
                adapters.setdefault(work.server_id, set()).add(work.adapter)
        here = (member.view(adapters.get(member.server_id, set())) for member in self.members)
        return (*here, *(view_of(status) for status in self._lives.away(self._hosts)))

    def other_server(self, work: ChunkWork, known: KnownJob, book: JobBook) -> str | None:
        """Choose the least loaded ready server for a chunk, rather another than the one that returned it."""
        job = known.waiting_job()
        fit = [
            (view.server_id in work.refused_by, view.server_id == work.server_id, view.load, view.server_id)
            for view in self.views(book)
            if serves(view, job) and view.state is ServerState.READY
        ]
        return min(fit)[3] if fit else None

    def hopeless(self, job: WaitingJob) -> FailedStarts | None:
        """Return why no server will ever run a job: its family fails on every slot that could be tried, or None."""
        kinds = sorted({slot.gpu_kind for slot in self._slots.values() if not slot.is_fixed})
        failed = self.failures.hopeless(job.family, kinds)
        if failed is None or any(serves(member.view(set()), job) for member in self.members):
            return None
        return failed

    # --- rows ---

    def withdraw(self, job_id: str) -> None:
        """Send no more rows of a job."""
        for runner in self.runners:
            runner.withdraw(job_id)

    def give_up(self, work: ChunkWork) -> None:
        """Send no more rows of a chunk, wherever it is."""
        for runner in self.runners:
            runner.give_up(work)

    def fill(self, windows: Mapping[str, float], base_models: Mapping[str, str]) -> None:
        """Say by family which part of its servers is to be filled; of several at a fixed URL, the largest counts.

        `base_models`: of each family. Servers of families that have no jobs are not held back.
        """
        for member in self.members:
            if member.runner is not None:
                model = member.status().base_model_id
                own = [member.family] if member.family else [name for name in windows if base_models.get(name) == model]
                member.runner.fill(max((windows[name] for name in own if name in windows), default=1.0))

    def activity(self, job_id: str) -> tuple[int, int]:
        """Return how many rows of a job are in flight, and how many wait to be sent again."""
        counted = [runner.job_activity(job_id) for runner in self.runners]
        return sum(in_flight for in_flight, _ in counted), sum(retrying for _, retrying in counted)

    async def close(self, grace_s: float) -> None:
        """Send no more rows anywhere, and let those in flight end."""
        for runner in self.runners:
            runner.drain()
        async with asyncio.TaskGroup() as group:
            for runner in self.runners:
                group.create_task(runner.close(grace_s))

    # --- starting and draining ---

    async def start(self, slot_id: str, launch: Launch, why: str) -> None:
        """Start a server on a slot. A failure is counted, and told by `failures`."""
        slot, began = self._slots[slot_id], self._clock.monotonic()
        try:
            server_id = await self._host_of[slot_id].start(slot_id, launch)
        except SlotOccupiedError as error:
            _log.warning("server_not_started", slot=slot_id, error=str(error))
            return
        except FleetError as error:
            self._lives.failed(launch.family, slot, str(error), ())
            return
        self._lives.began(server_id, slot_id, why, at=began)
        _log.info("server_starting", slot=slot_id, server=server_id, model=launch.model, reason=why)
        self._news.set()

    async def drain(self, server_id: str, why: str) -> None:
        """Let a server end its rows in flight, and stop it."""
        member = self._lives.members.get(server_id)
        if member is not None:
            self._lives.let_leave(member, why)
            return
        for host in self._hosts:  # it has no address yet
            if any(launched.server_id == server_id for launched in host.servers):
                self._lives.expect_end(server_id)
                await host.stop(server_id)

    # --- life ---

    async def run(self) -> None:
        """Watch hosts and servers until cancelled; servers keep running."""
        async with asyncio.TaskGroup() as group:
            for host in self._hosts:
                group.create_task(host.run(self._news.set))
            while True:
                self._news.clear()
                await self._lives.look(self._hosts, group)
                try:
                    async with self._clock.timeout(LOOK_INTERVAL_S):
                        await self._news.wait()
                except TimeoutError:
                    pass

    def heard(self) -> None:
        """Something has changed at a server: look soon."""
        self._news.set()

    def obey(self, drained: Mapping[str, str]) -> None:
        """Take these slots out of service, and back those that were and are not any more."""
        self._lives.drained = drained
        self._news.set()

    async def stop_servers(self) -> None:
        """End all servers that were started here, unless they are to be kept for the next life."""
        if self._keep_servers:
            return
        for launched in (each for host in self._hosts for each in host.servers):
            self._lives.expect_end(launched.server_id)
        async with asyncio.TaskGroup() as group:
            for host in self._hosts:
                group.create_task(host.close())

    def _slot_reason(self, slot: Slot) -> str:
        if slot.slot_id in self.drained:
            return self.drained[slot.slot_id] or "drained by an operator"
        if slot.is_fixed:
            members = (member for member in self.members if member.watch.slot.slot_id == slot.slot_id)
            return "; ".join(member.status().reason for member in members)
        running = self.on_slot(slot.slot_id)
        if running:
            return "; ".join(self._lives.why(each.server_id) or each.reason or ADOPTED for each in running)
        gone = [each for each in self._host_of[slot.slot_id].servers if each.slot_id == slot.slot_id]
        return gone[-1].reason if gone else "nothing wants it"
