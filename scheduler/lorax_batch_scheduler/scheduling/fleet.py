"""The servers of this process: on which slots of which hosts they run, who joins and who leaves."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lorax_batch_scheduler.scheduling.server_watch import ServerWatch
from lorax_batch_scheduler.scheduling.start_failures import FailedStarts, StartFailures
from lorax_batch_scheduler.work import ChunkWork

LOOK_INTERVAL_S: Final = 1.0
"""Start timeouts and idle servers are noticed this late; what a host tells, at once."""
STEADY_S: Final = 60.0
"""A server that ends by itself sooner after it was ready counts as a failed start."""
WatchFactory = Callable[[LaunchedServer, Slot], ServerWatch]
Nothing = Callable[[], None]

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
        on_ready: Callable[[str, str, float], None] = lambda family, kind, seconds: None,
    ) -> None:
        """`on_change`: a server is new, ready or gone.

        `on_ready`: a server of a family on a kind of GPU is ready so many seconds after its start.
        """
        self._hosts = list(hosts)
        self._make_watch = make_watch
        self._clock = clock
        self._keep_servers = keep_servers
        self._on_change = on_change
        self._on_ready = on_ready
        self._slots = {slot.slot_id: slot for host in hosts for slot in host.slots}
        self._host_of = {slot.slot_id: host for host in hosts for slot in host.slots}
        self._members: dict[str, FleetMember] = {}
        self._settled: set[str] = set()
        """Servers that are gone, and whose end was taken note of."""
        self._asked_to_stop: set[str] = set()
        self._starts: Counter[str] = Counter()
        """By slot."""
        self._why: dict[str, str] = {}
        """By server: why it was started."""
        self._launches: dict[str, Launch] = {}
        self._news = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.failures = failures or StartFailures(first_pause_s=5.0, max_failed_starts=5)
        self.drained: Mapping[str, str] = {}
        """Slots that an operator has taken out of service, with the reason."""

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
        return list(self._members.values())

    def servers(self) -> list[ServerStatus]:
        """Return how the servers are."""
        return [member.status() for member in self._members.values()]

    def slot_statuses(self) -> list[SlotStatus]:
        """Return what runs on each slot and why, also on those where nothing does."""
        now = self._clock.now()
        return [
            SlotStatus(
                slot=slot,
                server_ids=tuple(self._told_on(slot)),
                reason=self._slot_reason(slot),
                starts=self._starts[slot.slot_id],
                update_time=now,
            )
            for slot in self._slots.values()
        ]

    def _told_on(self, slot: Slot) -> Iterator[str]:
        for member in self._members.values():
            if member.watch.slot.slot_id == slot.slot_id and (member.runner is not None or not slot.is_fixed):
                yield member.server_id

    def on_slot(self, slot_id: str) -> list[LaunchedServer]:
        """Return the servers that a slot has, in whatever state but GONE."""
        servers = self._host_of[slot_id].servers
        return [each for each in servers if each.slot_id == slot_id and each.state is not LaunchState.GONE]

    def url_of(self, server_id: str) -> str | None:
        """Return where a server is; None once it is gone: it may leave between a plan and what is done by it."""
        member = self._members.get(server_id)
        return member.watch.url if member is not None else None

    def runner_of(self, server_id: str) -> RowRunner | None:
        """Return what sends rows to a server; None while it has never answered, and once it is gone."""
        member = self._members.get(server_id)
        return member.runner if member is not None else None

    @property
    def runners(self) -> list[RowRunner]:
        """What sends rows to the servers that have answered."""
        return [member.runner for member in self._members.values() if member.runner is not None]

    def views(self, book: JobBook) -> tuple[ServerView, ...]:
        """Return the servers as the planner of rows sees them."""
        adapters: dict[str, set[str]] = {}
        for known in book:
            for work in known.works.values():
                adapters.setdefault(work.server_id, set()).add(work.adapter)
        return tuple(member.view(adapters.get(member.server_id, set())) for member in self._members.values())

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
        if failed is None or any(serves(member.view(set()), job) for member in self._members.values()):
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
        slot = self._slots[slot_id]
        try:
            server_id = await self._host_of[slot_id].start(slot_id, launch)
        except SlotOccupiedError as error:
            _log.warning("server_not_started", slot=slot_id, error=str(error))
            return
        except FleetError as error:
            self._failed(launch.family, slot, str(error), ())
            return
        self._why[server_id] = why
        self._launches[server_id] = launch
        self._starts[slot_id] += 1
        _log.info("server_starting", slot=slot_id, server=server_id, model=launch.model, reason=why)
        self._news.set()

    async def drain(self, server_id: str, why: str) -> None:
        """Let a server end its rows in flight, and stop it."""
        member = self._members.get(server_id)
        if member is not None:
            self._let_leave(member, why)
            return
        for host in self._hosts:  # it has no address yet
            if any(launched.server_id == server_id for launched in host.servers):
                self._asked_to_stop.add(server_id)
                await host.stop(server_id)

    # --- life ---

    async def run(self) -> None:
        """Watch hosts and servers until cancelled; servers keep running."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for host in self._hosts:
                group.create_task(host.run(self._news.set))
            while True:
                self._news.clear()
                await self._look()
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
        self.drained = drained
        self._news.set()

    async def stop_servers(self) -> None:
        """End all servers that were started here, unless they are to be kept for the next life."""
        if self._keep_servers:
            return
        self._asked_to_stop.update(launched.server_id for host in self._hosts for launched in host.servers)
        async with asyncio.TaskGroup() as group:
            for host in self._hosts:
                group.create_task(host.close())

    async def _look(self) -> None:
        for host in self._hosts:
            for launched in host.servers:
                self._meet(host, launched)
        now = self._clock.monotonic()
        for member in list(self._members.values()):
            was_idle = member.idle_since is not None
            if member.look(now):
                self._became_ready(member, now)
            elif member.idle_since is not None and not was_idle:
                self._on_change()  # its slot may be of use to others
            await self._judge_start(member, now)
            self._obey_drain(member)

    def _meet(self, host: ServerHost, launched: LaunchedServer) -> None:
        """Take note of what a host tells of a server."""
        member = self._members.get(launched.server_id)
        if launched.state is LaunchState.GONE:
            if launched.server_id not in self._settled:
                self._settled.add(launched.server_id)
                self._ended(launched, member)
        elif member is not None:
            member.launched = launched
        elif launched.state is LaunchState.UP and not self._is_drained_static(launched):
            self._join(host, launched)

    def _is_drained_static(self, launched: LaunchedServer) -> bool:
        return self._slots[launched.slot_id].is_fixed and launched.slot_id in self.drained

    def _join(self, host: ServerHost, launched: LaunchedServer) -> None:
        assert self._group is not None
        slot = self._slots[launched.slot_id]
        member = FleetMember(
            host=host,
            launched=launched,
            watch=self._make_watch(launched, slot),
            since=self._clock.monotonic(),
            why=self._why.get(launched.server_id, "it was there already"),
            family=launched.family,
            launch=self._launches.get(launched.server_id),
        )
        self._members[launched.server_id] = member
        member.watching = self._group.create_task(member.watch.run())
        self._on_change()

    def _became_ready(self, member: FleetMember, now: float) -> None:
        if member.family:
            kind = member.watch.slot.gpu_kind
            self.failures.succeeded(member.family, kind)
            self._on_ready(member.family, kind, now - member.since)
        self._on_change()

    async def _judge_start(self, member: FleetMember, now: float) -> None:
        """Give a server up that reports another model than asked, or is not ready in time."""
        watch = member.watch
        late = member.ready_at is None and now - member.since > watch.slot.start_timeout_s
        if member.is_fixed or member.server_id in self._asked_to_stop or not (watch.wrong_model or late):
            return
        limit = f"{watch.slot.start_timeout_s:g} s"
        reason = watch.reason if watch.wrong_model else f"it was not ready within {limit}: {watch.reason}"
        self._failed(member.family, watch.slot, reason, member.launched.log_tail)
        self._asked_to_stop.add(member.server_id)
        await member.host.stop(member.server_id)

    def _obey_drain(self, member: FleetMember) -> None:
        reason = self.drained.get(member.watch.slot.slot_id)
        if reason is not None:
            self._let_leave(member, f"drained: {reason}" if reason else "drained by an operator")

    def _let_leave(self, member: FleetMember, why: str) -> None:
        assert self._group is not None
        if member.leaving is None:
            member.leaves_because = why
            self._asked_to_stop.add(member.server_id)
            member.leaving = self._group.create_task(self._leave(member))
            self._on_change()

    async def _leave(self, member: FleetMember) -> None:
        await member.leave()
        if member.is_fixed:  # nobody will tell that it is gone; it may come back when its slot does
            self._forget(member)
            self._asked_to_stop.discard(member.server_id)

    def _ended(self, launched: LaunchedServer, member: FleetMember | None) -> None:
        """A server is gone: as it was told, or by itself."""
        asked = launched.server_id in self._asked_to_stop
        now = self._clock.monotonic()
        steady = member is not None and member.ready_at is not None and now - member.ready_at > STEADY_S
        slot = self._slots.get(launched.slot_id)
        if not asked and not steady and slot is not None:
            self._failed(launched.family, slot, launched.reason, launched.log_tail)
        elif not asked:
            _log.warning("server_lost", server=launched.server_id, reason=launched.reason)
        self._asked_to_stop.discard(launched.server_id)
        self._why.pop(launched.server_id, None)
        self._launches.pop(launched.server_id, None)
        if member is not None:
            self._forget(member)
        self._on_change()

    def _forget(self, member: FleetMember) -> None:
        self._members.pop(member.server_id, None)
        for task in (member.watching, member.leaving):
            # Its rows in flight and its chunks come back when the watch ends.
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._news.set()

    def _failed(self, family: str, slot: Slot, reason: str, log_tail: Sequence[str]) -> None:
        failed = self.failures.add(family, slot.gpu_kind, self._clock.monotonic(), reason, log_tail)
        pause_s = failed.until - self._clock.monotonic()
        _log.warning(
            "server_start_failed", slot=slot.slot_id, reason=reason, count=failed.count, pause_s=round(pause_s)
        )
        self._on_change()

    def _slot_reason(self, slot: Slot) -> str:
        if slot.slot_id in self.drained:
            return self.drained[slot.slot_id] or "drained by an operator"
        if slot.is_fixed:
            members = (member for member in self._members.values() if member.watch.slot.slot_id == slot.slot_id)
            return "; ".join(member.status().reason for member in members)
        running = self.on_slot(slot.slot_id)
        if running:
            return "; ".join(self._why.get(each.server_id) or each.reason for each in running)
        gone = [each for each in self._host_of[slot.slot_id].servers if each.slot_id == slot.slot_id]
        return gone[-1].reason if gone else "nothing wants it"
