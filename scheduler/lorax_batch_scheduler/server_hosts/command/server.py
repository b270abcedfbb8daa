"""One server of a slot: started, watched until it ends, ended when asked."""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec.structs import replace

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.command.free_port import HOST
from lorax_batch_scheduler.server_hosts.command.helper_command import run_helper
from lorax_batch_scheduler.server_hosts.command.process import GatedProcess, ServerProcess, exit_status, kill_all
from lorax_batch_scheduler.server_hosts.command.record import RecordFolder, ServerRecord
from lorax_batch_scheduler.server_hosts.command.server_log import ServerLog

KILL_WAIT_S: Final = 30.0
"""A killed process can still hang in its GPU's driver for a while."""
CLEANUP_TIMEOUT_S: Final = 60.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all servers of a host share."""

    records: RecordFolder
    clock: Clock
    environment: Mapping[str, str]
    """Of `stop` and `cleanup` commands."""
    on_change: Callable[[], None]


class CommandServer:
    """A server. `start` or `run` must be awaited for anything to happen; cancelling that leaves its process running."""

    def __init__(self, record: ServerRecord, *, log: ServerLog, surroundings: Surroundings) -> None:
        self.record = record
        self._log = log
        self._around = surroundings
        self._state = _first_state(record)
        self._reason = ""
        self._log_tail: tuple[str, ...] = ()
        self._may_start = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._gone = asyncio.Event()
        if record.stopping:
            self._stop_asked.set()

    def __repr__(self) -> str:
        return f"CommandServer({self.record.server_id!r}, {self._state})"

    @property
    def launched(self) -> LaunchedServer:
        """The server as the port shows it."""
        record = self.record
        return LaunchedServer(
            server_id=record.server_id,
            slot_id=record.slot_id,
            family=record.family,
            model=record.model,
            state=self._state,
            url=f"http://{HOST}:{record.port}" if record.process is not None else "",
            start_time=record.start_time,
            config=record.config,
            arguments=record.arguments,
            reason=self._reason,
            log_tail=self._log_tail,
        )

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of it."""
        return self._gone.is_set()

    async def wait_gone(self) -> None:
        """Return when nothing is left of it; whoever runs it sees to that."""
        await self._gone.wait()

    def ask_to_stop(self) -> None:
        """Begin to end it."""
        if not self.is_gone and not self._stop_asked.is_set():
            self._stop_asked.set()
            self._may_start.set()
            self._show(LaunchState.STOPPING, "was told to end")

    def wait_for(self, what: str) -> None:
        """Say what a server waits for that is not released yet."""
        self._show(LaunchState.STARTING, what)

    def release(self) -> None:
        """Let a server start that waits for its place to be free."""
        self._may_start.set()

    async def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start its process once it is released, and watch it until it has ended."""
        await self._may_start.wait()
        if self._stop_asked.is_set():
            self._end("was told to end before it was started")
            return
        spawning = asyncio.ensure_future(asyncio.to_thread(self._spawn, command, environment))
        try:
            await asyncio.shield(spawning)
        except asyncio.CancelledError:
            await asyncio.wait({spawning})  # milliseconds; what was started must be known to `close`
            raise
        except OSError as error:
            self._end(f"can't be started: {error}")
            return
        if not self._stop_asked.is_set():
            self._show(LaunchState.UP, "its process runs")
        await self.run()

    async def run(self) -> None:
        """Watch it until it has ended and nothing of it is left."""
        if self.is_gone:
            return
        if self.record.process is None:
            self._end("was never started")
            return
        process = ServerProcess.attach(self.record.process)
        if process is None:
            code = exit_status(self.record.process)
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    ending = group.create_task(self._end_when_asked(process))
                    code = await process.wait()
                    ending.cancel()
            finally:
                process.close()
        await self._clear_up()
        await self._scrub_log()
        if self._stop_asked.is_set():
            self._end("ended as it was told to")
        else:
            self._log_tail = await asyncio.to_thread(self._log.tail)
            self._end(_why(code))

    def trim_log(self) -> None:
        """Keep its log from filling the disk. Blocking."""
        self._log.trim()

    def _spawn(self, command: list[str], environment: Mapping[str, str]) -> None:
        with self._log.open() as output:
            process = GatedProcess(command, environment, output.fileno())
        try:
            record = replace(self.record, process=process.identity)
            self._around.records.write(record)
        except BaseException:
            process.close()
            raise
        self.record = record
        process.open()

    async def _end_when_asked(self, process: ServerProcess) -> None:
        await self._stop_asked.wait()
        self.record = replace(self.record, stopping=True)
        await self._on_disk(lambda records: records.write(self.record))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_after_grace(process))
            if not self.record.stop or not await self._run_command(self.record.stop, self.record.grace_s):
                process.terminate()

    async def _kill_after_grace(self, process: ServerProcess) -> None:
        await self._around.clock.sleep(self.record.grace_s)
        _log.warning("server_killed", **self._named, grace_s=self.record.grace_s)
        await kill_all(process.identity, timeout_s=KILL_WAIT_S)

    async def _clear_up(self) -> None:
        """Remove what its process may have left: shards that hold the GPU, a container without its client."""
        assert self.record.process is not None
        if not await kill_all(self.record.process, timeout_s=KILL_WAIT_S):
            _log.error("server_unkillable", **self._named)
        if self.record.cleanup:
            await self._run_command(self.record.cleanup, CLEANUP_TIMEOUT_S)
        await self._on_disk(lambda records: records.remove(self.record.server_id))

    async def _scrub_log(self) -> None:
        try:
            await asyncio.to_thread(self._log.scrub)
        except OSError as error:
            _log.warning("server_log_unscrubbed", **self._named, error=str(error))

    async def _run_command(self, command: Sequence[str], timeout_s: float) -> bool:
        trouble = await run_helper(command, self._around.environment, timeout_s=timeout_s)
        if trouble:
            _log.warning("server_command_failed", **self._named, error=trouble)
        return not trouble

    async def _on_disk(self, change: Callable[[RecordFolder], None]) -> None:
        try:
            await asyncio.to_thread(change, self._around.records)
        except OSError as error:
            # The server is ended all the same; the next life of the service finds it as it was, and looks again.
            _log.warning("server_record_unwritable", **self._named, error=str(error))

    def _end(self, reason: str) -> None:
        self._gone.set()
        _log.info("server_gone", **self._named, reason=reason)
        self._show(LaunchState.GONE, reason)

    def _show(self, state: LaunchState, reason: str) -> None:
        self._state, self._reason = state, reason
        self._around.on_change()

    @property
    def _named(self) -> dict[str, str]:
        return {"server": self.record.server_id, "slot": self.record.slot_id}


def _first_state(record: ServerRecord) -> LaunchState:
    if record.process is None:
        return LaunchState.STARTING
    return LaunchState.STOPPING if record.stopping else LaunchState.UP


def _why(code: int | None) -> str:
    if code is None:
        return "ended by itself; with which status, only an earlier life of the service could have seen"
    if code >= 0:
        return f"ended by itself with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
