"""The lives of servers: who joins the fleet, who leaves it, and what becomes of each start."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState, ServerHost
from lorax_batch_scheduler.scheduling.fleet_member import FleetMember
from lorax_batch_scheduler.scheduling.server_view import without_address
from lorax_batch_scheduler.scheduling.server_watch import ServerWatch, idle_status
from lorax_batch_scheduler.scheduling.start_failures import StartFailures

STEADY_S: Final = 60.0
"""A server that ends by itself sooner after it was ready counts as a failed start."""
WatchFactory = Callable[[LaunchedServer, Slot], ServerWatch]
Nothing = Callable[[], None]
BaseModelOf = Callable[[str], str | None]
"""Of what a server is told to load: the catalogue's name."""
OnReady = Callable[[str, str, float], None]
"""Of a family, a kind of GPU, and the seconds since a start in this life."""

_log = structlog.get_logger()


class ServerLives:
    """Follows servers from what hosts tell of them, and ends those that are not as they should be.

    *Resources*: its tasks belong to the group that `look` is given; those of a server end when it is gone.
    """

    def __init__(
        self,
        slots: Mapping[str, Slot],
        *,
        make_watch: WatchFactory,
        clock: Clock,
        failures: StartFailures,
        hear: Nothing,
        on_change: Nothing,
        on_ready: OnReady,
        base_model_of: BaseModelOf,
    ) -> None:
        """`hear`: look again soon. `on_change`: a server is new, ready or gone. `on_ready`: one is ready."""
        self.failures = failures
        self.drained: Mapping[str, str] = {}
        """Slots that an operator has taken out of service, with the reason."""
        self.members: dict[str, FleetMember] = {}
        """The servers with an address, by id."""
        self.starts: Counter[str] = Counter()
        """By slot."""
        self.failed_starts: Counter[str] = Counter()
        """By slot, all that there were; `failures` forgets them when one succeeds."""
        self._slots = slots
        self._make_watch = make_watch
        self._clock = clock
        self._hear = hear
        self._on_change = on_change
        self._on_ready = on_ready
        self._base_model_of = base_model_of
        self._group: asyncio.TaskGroup | None = None
        self._settled: set[str] = set()
        """Servers that are gone, and whose end was taken note of."""
        self._asked_to_stop: set[str] = set()
        self._base_models: dict[str, str | None] = {}
        """Of fixed servers that are away: what they hosted."""
        self._why: dict[str, str] = {}
        """By server: why it was started."""
        self._began: dict[str, float] = {}
        """By server of this life: when its start began, in monotonic seconds."""

    def began(self, server_id: str, slot_id: str, why: str, *, at: float) -> None:
        """Take note of a server that was started. `at`: monotonic seconds, before its host was asked."""
        self._why[server_id] = why
        self._began[server_id] = at
        self.starts[slot_id] += 1

    def why(self, server_id: str) -> str:
        """Return why a server was started; "" when that was not in this life."""
        return self._why.get(server_id, "")

    def expect_end(self, server_id: str) -> None:
        """A server is told to stop: its end is not a failure."""
        self._asked_to_stop.add(server_id)

    async def look(self, hosts: Sequence[ServerHost], group: asyncio.TaskGroup) -> None:
        """Take note of all that has changed."""
        self._group = group
        for host in hosts:
            for launched in host.servers:
                self._meet(host, launched)
        now = self._clock.monotonic()
        for member in list(self.members.values()):
            was_idle = member.idle_since is not None
            if member.look(now):
                self._became_ready(member)
            elif member.idle_since is not None and not was_idle:
                self._on_change()  # its slot may be of use to others
            await self._judge_start(member, now)
            self._obey_drain(member)

    def away(self, hosts: Sequence[ServerHost]) -> list[ServerStatus]:
        """Return the servers at fixed URLs whose slots are out of service."""
        now = self._clock.now()
        return [
            idle_status(
                server.server_id,
                slot := self._slots[server.slot_id],
                server.url,
                ServerState.DRAINED,
                f"{self._drained_because(slot)}; `lorax-batch fleet undrain {slot.slot_id}` puts it back",
                base_model_id=self._base_models.get(server.server_id, slot.declared_model),
                now=now,
            )
            for host in hosts
            for server in host.servers
            if self._is_drained_static(server) and server.server_id not in self.members
        ]

    def coming(self, hosts: Sequence[ServerHost]) -> list[ServerStatus]:
        """Return the servers that were started and have no address yet."""
        now = self._clock.now()
        return [
            replace(
                idle_status(
                    server.server_id,
                    self._slots[server.slot_id],
                    "",
                    ServerState.STARTING,
                    server.reason or "has no address yet",
                    base_model_id=self._base_model_of(server.model),
                    now=now,
                ),
                config=server.config,
                launch_arguments=server.arguments,
            )
            for host in hosts
            for server in host.servers
            if server.state is LaunchState.STARTING and server.server_id not in self.members
        ]

    def let_leave(self, member: FleetMember, why: str) -> None:
        """Give a server no more rows, let those in flight end, and end it if it is ours to end."""
        assert self._group is not None
        if member.leaving is None:
            member.leaves_because = why
            self.expect_end(member.server_id)
            member.leaving = self._group.create_task(self._leave(member))
            self._on_change()

    def failed(self, family: str, slot: Slot, reason: str, log_tail: Sequence[str]) -> None:
        """Count a failed start."""
        now = self._clock.monotonic()
        failed = self.failures.add(family, slot.gpu_kind, now, reason, log_tail, time=self._clock.now())
        pause_s = round(failed.until - now)
        self.failed_starts[slot.slot_id] += 1
        _log.warning("server_start_failed", slot=slot.slot_id, reason=reason, count=failed.count, pause_s=pause_s)
        self._on_change()

    # --- joining ---

    def _meet(self, host: ServerHost, launched: LaunchedServer) -> None:
        """Take note of what a host tells of a server."""
        member = self.members.get(launched.server_id)
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
        member = FleetMember(
            host=host,
            launched=launched,
            watch=self._make_watch(launched, self._slots[launched.slot_id]),
            since=self._began.get(launched.server_id, self._clock.monotonic()),
            family=launched.family,
        )
        self.members[launched.server_id] = member
        member.watching = self._group.create_task(member.watch.run())
        self._on_change()

    def _became_ready(self, member: FleetMember) -> None:
        if member.family:
            kind = member.watch.slot.gpu_kind
            self.failures.succeeded(member.family, kind)
            began = self._began.get(member.server_id)
            if began is not None:  # else it was there before us, and nothing can be told of its start
                self._on_ready(member.family, kind, self._clock.monotonic() - began)
        self._on_change()

    async def _judge_start(self, member: FleetMember, now: float) -> None:
        """Give a server up that reports another model than asked, or is not ready in time."""
        watch = member.watch
        late = member.ready_at is None and now - member.since > watch.slot.start_timeout_s
        if member.is_fixed or member.server_id in self._asked_to_stop or not (watch.wrong_model or late):
            return
        limit = f"{watch.slot.start_timeout_s:g} s"
        reason = (
            f"its server {watch.wrong_model}"
            if watch.wrong_model
            else f"it was not ready within {limit}: {without_address(watch.reason, watch.url)}"
        )
        self.failed(member.family, watch.slot, reason, member.launched.log_tail)
        self.expect_end(member.server_id)
        await member.host.stop(member.server_id)

    # --- leaving ---

    def _obey_drain(self, member: FleetMember) -> None:
        if member.watch.slot.slot_id in self.drained:
            self.let_leave(member, self._drained_because(member.watch.slot))

    def _drained_because(self, slot: Slot) -> str:
        reason = self.drained[slot.slot_id]
        return f"drained: {reason}" if reason else "drained by an operator"

    async def _leave(self, member: FleetMember) -> None:
        await member.leave()
        if member.is_fixed:  # nobody will tell that it is gone; it may come back when its slot does
            self._base_models[member.server_id] = member.status().base_model_id
            self._forget(member)
            self._asked_to_stop.discard(member.server_id)
            self._on_change()

    def _ended(self, launched: LaunchedServer, member: FleetMember | None) -> None:
        """A server is gone: as it was told, or by itself."""
        asked = launched.server_id in self._asked_to_stop
        now = self._clock.monotonic()
        steady = member is not None and member.ready_at is not None and now - member.ready_at > STEADY_S
        slot = self._slots.get(launched.slot_id)
        if not asked and not steady and slot is not None:
            self.failed(launched.family, slot, launched.reason, launched.log_tail)
        elif not asked:
            _log.warning("server_lost", server=launched.server_id, reason=launched.reason)
        self._asked_to_stop.discard(launched.server_id)
        self._why.pop(launched.server_id, None)
        self._began.pop(launched.server_id, None)
        if member is not None:
            self._forget(member)
        self._on_change()

    def _forget(self, member: FleetMember) -> None:
        self.members.pop(member.server_id, None)
        for task in (member.watching, member.leaving):
            # Its rows in flight and its chunks come back when the watch ends.
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._hear()
