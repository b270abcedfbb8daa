"""A TCP proxy of the tests' own, on a thread with its own loop: it cuts, refuses, delays, throttles or swallows."""

import asyncio
import contextlib
import dataclasses
import enum
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

BLOCK_BYTES: Final = 65_536
SLICES_PER_S: Final = 20
"""A throttled connection passes so many slices in a second."""
SWITCH_TIMEOUT_S: Final = 10.0
LISTEN_BACKLOG: Final = 128
_RESET: Final = struct.pack("ii", 1, 0)
"""`SO_LINGER` with no time: closing sends RST instead of FIN."""


class Way(enum.Enum):
    """A direction of a connection."""

    REQUESTS = "requests"
    """From whoever connected to the server behind the proxy."""
    ANSWERS = "answers"


BOTH: Final = frozenset(Way)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What is done to all connections; faults add up."""

    refuses: bool = False
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    swallows: frozenset[Way] = frozenset()
    swallows_from: bytes = b""
    """What a request says from whose passing on all answers are swallowed."""


@dataclass(slots=True, kw_only=True)
class Hits:
    """What a proxy has done since it began: the proof that a fault met something."""

    accepted: int = 0
    unreachable: int = 0
    """Connections that ended at once because the server behind was not there."""
    cut: int = 0
    delayed_blocks: int = 0
    throttled_blocks: int = 0
    swallowed_bytes: int = 0
    passed_bytes: int = 0


@dataclass(eq=False, slots=True, kw_only=True)
class _Link:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None
    holed: set[Way] = field(default_factory=set)
    """Directions that have lost something: nothing can pass there any more."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        self.ended.set()
        for writer in (self.near, self.far):
            if writer is not None and not writer.transport.is_closing():
                _make_reset(writer)
                writer.transport.abort()


class Proxy:
    """Forwards what connects to `port` on the loopback to a server, and does to it what a network may do.

    The target is `HOST:PORT`, a URL with both, or `unix:PATH`. The switches may be called from any thread, act on the
    connections that are open and on those to come, and have acted when they return.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.port = 0
        self.hits = Hits()
        self._fault = _Fault()
        self._budgets: list[int] = []
        self._links: set[_Link] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=f"proxy of {target}")
        self._started = threading.Event()

    def __repr__(self) -> str:
        return f"<Proxy {self.address} of {self._target}: {self._fault}, {self.hits}>"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(SWITCH_TIMEOUT_S), f"{self!r} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SWITCH_TIMEOUT_S)

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens, for HTTP."""
        return f"http://{self.address}"

    # --- the switches ---

    def cut(self) -> int:
        """Reset all connections that are open; return how many."""
        return self._do(self._cut)

    def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED) until `heal`; those that are open stay."""
        self._switch(refuses=True)

    def delay(self, seconds: float) -> None:
        """Pass everything on so much later."""
        self._switch(delay_s=seconds)

    def throttle(self, bytes_per_s: float) -> None:
        """Pass so much in each direction of each connection."""
        self._switch(bytes_per_s=bytes_per_s)

    def black_hole(self, ways: frozenset[Way] = BOTH) -> None:
        """Accept connections and bytes, keep them open, and pass nothing on.

        A connection that lost bytes stays dead after `heal`: a stream with a hole is of no use, and that nobody
        resets it is what a lost peer looks like.
        """
        self._switch(swallows=ways)

    def lose_answer_to(self, request: bytes) -> None:
        """Pass on the next request that holds these bytes, and from then on swallow all answers."""
        self._switch(swallows_from=request)

    def redirect(self, target: str) -> str:
        """Send connections to another server and reset those that are open; return where they went before."""
        before, self._target = self._target, target
        self.cut()
        return before

    def cut_after(self, *byte_counts: int) -> None:
        """Cut the connection that carries the Nth next byte, both directions counted; then for the next N anew."""
        self._do(lambda: self._budgets.extend(byte_counts))

    def heal(self) -> None:
        """Pass everything on again."""
        self._do(self._heal)

    # --- on the loop of the thread ---

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            result = action()
            await self._listen()
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            return result

        return self._call(act())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SWITCH_TIMEOUT_S)

    def _switch(self, **changes: Any) -> None:
        def change() -> None:
            self._fault = dataclasses.replace(self._fault, **changes)

        self._do(change)

    def _heal(self) -> None:
        self._fault = _Fault()
        self._budgets.clear()

    def _cut(self) -> int:
        cut = self._reset_all()
        self.hits.cut += cut
        return cut

    def _reset_all(self) -> int:
        links = [link for link in self._links if not link.ended.is_set()]
        for link in links:
            link.reset()
        return len(links)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        stop = self._stop = asyncio.Event()
        with _bound(0) as reserved:  # keeps the port ours while connections are refused
            self.port = reserved.getsockname()[1]
            async with asyncio.TaskGroup() as self._group:
                await self._listen()
                self._started.set()
                await stop.wait()
                self._fault = _Fault(refuses=True)
                await self._listen()
                self._reset_all()

    async def _listen(self) -> None:
        if self._fault.refuses and self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
        elif not self._fault.refuses and self._accepting is None:
            listener = _bound(self.port)
            listener.listen(LISTEN_BACKLOG)
            self._accepting = self._group.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                accepted, _ = await self._loop.sock_accept(listener)
                self.hits.accepted += 1
                self._group.create_task(self._serve(accepted))

    async def _serve(self, accepted: socket.socket) -> None:
        reader, near = await asyncio.open_connection(sock=accepted)
        link = _Link(near=near)
        self._links.add(link)
        try:
            far_reader, link.far = await self._connect()
        except OSError:
            self.hits.unreachable += 1
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(link, Way.REQUESTS, reader, link.far))
                group.create_task(self._copy(link, Way.ANSWERS, far_reader, near))
        finally:
            self._links.discard(link)
            link.reset()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("unix:"):
            return await asyncio.open_unix_connection(self._target.removeprefix("unix:"))
        address = urlsplit(self._target if "//" in self._target else f"//{self._target}")
        return await asyncio.open_connection(address.hostname, address.port)

    async def _copy(self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(BLOCK_BYTES):
                await self._pass(link, way, data, writer)
        except OSError:
            if not self._swallows(link, way):
                link.reset()
        if self._swallows(link, way):
            await link.ended.wait()  # the other side must not learn of an end that was swallowed
        else:
            with contextlib.suppress(OSError):  # ENOTCONN: the other side was reset meanwhile
                writer.write_eof()

    async def _pass(self, link: _Link, way: Way, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._fault.delay_s and way not in self._fault.swallows:
            self.hits.delayed_blocks += 1
            await self._wait(self._fault.delay_s)
        while data:
            if self._swallows(link, way):
                self.hits.swallowed_bytes += len(data)
                return
            size = len(data)
            if self._fault.bytes_per_s:
                self.hits.throttled_blocks += 1
                size = max(1, int(self._fault.bytes_per_s / SLICES_PER_S))
                await self._wait(min(size, len(data)) / self._fault.bytes_per_s)
            piece, data = data[:size], data[size:]
            self._spend(link, len(piece))
            if way is Way.REQUESTS and self._fault.swallows_from and self._fault.swallows_from in piece:
                self._fault = dataclasses.replace(self._fault, swallows=frozenset({Way.ANSWERS}), swallows_from=b"")
            writer.write(piece)
            await writer.drain()
            self.hits.passed_bytes += len(piece)

    def _swallows(self, link: _Link, way: Way) -> bool:
        """Tell whether what comes now is lost; once something was, all later is."""
        if way in self._fault.swallows:
            link.holed.add(way)
        return way in link.holed

    def _spend(self, link: _Link, byte_count: int) -> None:
        """Count bytes that pass; cut the connection when the budget is spent."""
        if not self._budgets:
            return
        self._budgets[0] -= byte_count
        if self._budgets[0] < 0:
            del self._budgets[0]
            self.hits.cut += 1
            link.reset()
            raise ConnectionResetError

    async def _wait(self, seconds: float) -> None:
        """Return after the time, or as soon as a switch was moved."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", port))
    return bound


def _make_reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
