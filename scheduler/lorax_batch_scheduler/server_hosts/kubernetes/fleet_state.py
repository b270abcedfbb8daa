"""What is known of a fleet's servers, and what is to be done about them; decides, and asks the cluster nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes.observation import Observed

STOPPED = "it was told to end"


@dataclass(slots=True, kw_only=True)
class _Start:
    """A start that the watch has not shown yet."""

    server: LaunchedServer
    done_at: float | None = None
    """When the cluster had taken it, in monotonic time; None: not yet."""


@dataclass(slots=True, kw_only=True)
class _Ending:
    """A server that is to be deleted."""

    reason: str
    log_tail: tuple[str, ...] = ()
    is_told: bool = False
    """The cluster has been told to delete it."""
    unseen_since: float | None = None
    """It may never have been made: no list of the cluster after that monotonic time will show it later."""


class FleetState:
    """Servers by their ids: those seen in the cluster, and what this process knows beyond that."""

    def __init__(self, slot_ids: Collection[str]) -> None:
        self._slot_ids = frozenset(slot_ids)
        self._observed: dict[str, Observed] = {}
        self._starts: dict[str, _Start] = {}
        self._endings: dict[str, _Ending] = {}
        self._gone: dict[str, LaunchedServer] = {}

    def servers(self) -> list[LaunchedServer]:
        """Return every server that is not GONE, and of each slot without one the last that is."""
        starting = [start.server for server_id, start in self._starts.items() if server_id not in self._observed]
        seen = [self._told(item.server) for item in self._observed.values() if item.server.slot_id in self._slot_ids]
        return [*self._gone.values(), *starting, *seen]

    def occupant(self, slot_id: str) -> LaunchedServer | None:
        """Return what runs on a slot."""
        servers = self.servers()
        return next((it for it in servers if it.slot_id == slot_id and it.state is not LaunchState.GONE), None)

    # --- what this process does ---

    def begin_start(self, server: LaunchedServer) -> None:
        """Note a start before the cluster hears of it."""
        self._starts[server.server_id] = _Start(server=server)
        self._gone.pop(server.slot_id, None)

    def finish_start(self, server_id: str, now: float) -> None:
        """Note that the cluster has taken it; `now` is monotonic."""
        if start := self._starts.get(server_id):
            start.done_at = now

    def fail_start(self, server_id: str, now: float) -> None:
        """Have deleted what there may be of it; `now` is monotonic."""
        self._starts.pop(server_id, None)
        self._endings[server_id] = _Ending(reason="it could not be started", unseen_since=now)

    def end(self, server_id: str, reason: str, log_tail: Sequence[str] = ()) -> None:
        """Have a server deleted; unknown ones, and those that end already, are left alone."""
        if server_id in self._endings or not (server_id in self._observed or server_id in self._starts):
            return
        self._endings[server_id] = _Ending(reason=reason, log_tail=tuple(log_tail))

    def note_told(self, server_id: str) -> None:
        """Note that the cluster deletes a server."""
        if ending := self._endings.get(server_id):
            ending.is_told = True

    # --- what the cluster shows ---

    def see(self, observed: dict[str, Observed], listed_at: float) -> None:
        """Take what the cluster shows now; all that happened before `listed_at`, in monotonic time, is in it."""
        for server_id in self._observed.keys() - observed.keys():
            self._end_seen(self._observed[server_id].server)
        self._observed = observed
        for server_id, start in list(self._starts.items()):
            if server_id in observed:
                if start.done_at is not None:
                    del self._starts[server_id]
            elif start.done_at is not None and start.done_at <= listed_at:
                self._end_seen(start.server)

        for server_id, ending in list(self._endings.items()):
            if server_id not in observed and ending.unseen_since is not None and ending.unseen_since <= listed_at:
                del self._endings[server_id]

    def to_delete(self) -> list[Observed]:
        """Return the servers that the cluster must be told to delete."""
        return [
            item for server_id, item in self._observed.items() if (e := self._endings.get(server_id)) and not e.is_told
        ]

    def crashed(self) -> list[Observed]:
        """Return the servers that can't run, and are not ended yet."""
        return [item for item in self._observed.values() if item.has_crashed and not self._is_ending(item)]

    def _is_ending(self, item: Observed) -> bool:
        return item.server.server_id in self._endings or item.server.state is LaunchState.STOPPING

    def _end_seen(self, server: LaunchedServer) -> None:
        self._starts.pop(server.server_id, None)
        ending = self._endings.pop(server.server_id, None) or _Ending(reason="somebody else has deleted its Deployment")
        if server.slot_id in self._slot_ids:
            self._gone[server.slot_id] = replace(
                server, state=LaunchState.GONE, url="", reason=ending.reason, log_tail=ending.log_tail
            )

    def _told(self, server: LaunchedServer) -> LaunchedServer:
        ending = self._endings.get(server.server_id)
        if ending is None:
            return server
        return replace(server, state=LaunchState.STOPPING, reason=ending.reason, log_tail=ending.log_tail)
