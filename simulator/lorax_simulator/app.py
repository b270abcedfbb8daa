"""Runs a simulated server: binds, announces, dies and comes back cold, stops when told to."""

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TextIO

import uvloop

from lorax_simulator.connection import Connection
from lorax_simulator.faults import Faults
from lorax_simulator.journal import Journal, Logs
from lorax_simulator.options import node_cache, read_arguments, server_options, start_delay_s
from lorax_simulator.routes import Router
from lorax_simulator.server import Server

_BACKLOG = 4096
_PR_SET_PDEATHSIG = 1


class App:
    """One process of the simulator, from the first bind to the stop."""

    def __init__(self, arguments: argparse.Namespace, logs: Logs) -> None:
        self._arguments = arguments
        self._interrupt = asyncio.Event()  # set by a stop and by an abort
        self._stop_asked = asyncio.Event()
        self._all_gone = asyncio.Event()
        self._alive = False
        self.listening = asyncio.Event()
        self.url = ""
        self._server = Server(
            server_options(arguments),
            faults=Faults(arguments.fault),
            journal=Journal(marker=arguments.marker, logs=logs),
            loop=asyncio.get_running_loop(),
            on_abort=self._interrupt.set,
        )
        self._router = Router(self._server)

    def stop(self) -> None:
        """Accept nothing more, finish what is in flight, then let `run` return."""
        self._stop_asked.set()
        self._interrupt.set()

    async def run(self) -> None:
        """Serve until stopped."""
        host, port = self._arguments.host, self._arguments.port
        listener = _bind(host, port)
        port = listener.getsockname()[1]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        try:
            await self._wait(start_delay_s(self._arguments))
            node_cache(self._arguments).add(self._arguments.model_id)
            while not self._stop_asked.is_set():
                await self._live(listener)
                if not self._stop_asked.is_set():
                    # Bound but not listening: connections are refused, and nobody else takes the port.
                    listener = await _bind_again(host, port)
                    await self._wait(self._cold_start() * self._server.options.scale)
                    self._server.revive()
        finally:
            listener.close()

    async def _live(self, listener: socket.socket) -> None:
        self._alive = True
        acceptor = await asyncio.get_running_loop().create_server(self._new_connection, sock=listener, backlog=_BACKLOG)
        if not self.listening.is_set():
            self.listening.set()
            sys.stdout.write(f"{self.url}\n")
            sys.stdout.flush()
        await self._interrupt.wait()
        self._alive = False
        acceptor.close()
        if self._stop_asked.is_set():
            await self._drain()
        else:
            self._server.reset_connections()  # those accepted since the abort

    def _cold_start(self) -> float:
        given: float | None = self._arguments.cold_start
        return self._server.options.timing.cold_start if given is None else given

    def _new_connection(self) -> Connection:
        return Connection(self._router, self._take, self._lose)

    def _take(self, connection: Connection) -> None:
        self._server.connections.add(connection)
        if not self._alive:
            connection.reset()  # accepted before the abort, told of after it: nobody would ever answer

    def _lose(self, connection: Connection) -> None:
        self._server.connections.discard(connection)
        if not self._server.connections:
            self._all_gone.set()

    async def _wait(self, seconds: float) -> None:
        """Wait for so many real seconds, or for a stop."""
        if not self._stop_asked.is_set():
            self._interrupt.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._interrupt.wait()

    async def _drain(self) -> None:
        """Close idle connections, let rows in flight finish within the grace, then drop them."""
        connections = self._server.connections
        for connection in list(connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._arguments.grace):
                while connections:
                    self._all_gone.clear()
                    await self._all_gone.wait()
        for connection in list(connections):
            connection.reset()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parsed = read_arguments(arguments)
    if parsed.exit_with_parent and not _die_with_parent():
        sys.stderr.write("lorax_simulator: --exit-with-parent needs Linux\n")
        return 2
    try:
        with contextlib.ExitStack() as resources:
            logs = Logs(
                arrivals=_open_log(parsed.arrival_log, resources),
                calls=_open_log(parsed.request_log, resources),
                loads=_open_log(parsed.load_log, resources),
            )
            uvloop.run(_serve(parsed, logs))
    except OSError as error:
        sys.stderr.write(f"lorax_simulator: {error}\n")
        return 1
    return 0


def _open_log(path: str | None, resources: contextlib.ExitStack) -> TextIO | None:
    # By lines: what a killed server has written is whole.
    return resources.enter_context(Path(path).open("a", buffering=1)) if path else None


async def _serve(arguments: argparse.Namespace, logs: Logs) -> None:
    app, loop = App(arguments, logs), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    with contextlib.ExitStack() as resources:
        if arguments.exit_with is not None:
            try:
                other = os.pidfd_open(arguments.exit_with)
            except ProcessLookupError:
                return
            resources.callback(os.close, other)
            loop.add_reader(other, app.stop)
            resources.callback(loop.remove_reader, other)
        await app.run()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    except BaseException:
        listener.close()
        raise
    return listener


async def _bind_again(host: str, port: int) -> socket.socket:
    # The loop closes the old listener at its own pace.
    for _ in range(100):
        try:
            return _bind(host, port)
        except OSError:
            await asyncio.sleep(0.005)
    return _bind(host, port)


def _die_with_parent() -> bool:
    """Have the kernel send SIGTERM when the parent dies; return False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)
    return True
