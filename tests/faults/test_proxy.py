"""The tests' proxy does what its switches say, and counts it."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.poll import poll_until
from tests.faults.proxy import Proxy, Way

IMPATIENT_S = 0.15


@pytest.fixture
def echo() -> Iterator[str]:
    """Yield the address of a server that says everything again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, threads))
        accepting.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
        for thread in threads:
            thread.join(10)


@pytest.fixture
def proxy(echo: str) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


def test_passes_everything_on(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"x" * 1_000_000) == b"x" * 1_000_000
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert (proxy.hits.accepted, proxy.hits.passed_bytes, proxy.hits.cut) == (1, 2_000_000, 0)


def test_reaches_a_server_on_a_unix_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Proxy(f"unix:{path}") as proxy, connect(proxy) as connection:
            server, _ = listener.accept()
            with server:
                connection.sendall(b"hello")
                assert server.recv(100) == b"hello"


def test_cut_resets_what_is_open_and_nothing_else(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"a") == b"a"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        assert ask(connection, b"a") == b"a"
    assert proxy.hits.cut == 1


def test_refuses_new_connections_on_a_port_that_stays_its_own(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"a") == b"a"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert ask(connection, b"a") == b"a"
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", proxy.port))
        proxy.heal()
    with connect(proxy) as connection:
        assert ask(connection, b"a") == b"a"


def test_a_server_that_is_gone_shows_as_a_reset(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = f"127.0.0.1:{listener.getsockname()[1]}"
    with Proxy(gone) as nowhere:
        with pytest.raises(ConnectionResetError), connect(nowhere) as connection:
            connection.recv(1)
        assert nowhere.hits.unreachable == 1


def test_delays_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.delay(0.1)
        begin = time.monotonic()
        assert ask(connection, b"a") == b"a"
        assert time.monotonic() - begin >= 0.2
        proxy.delay(3_600)
        connection.sendall(b"b")
        poll_until(lambda: proxy.hits.delayed_blocks, lambda count: count == 3)
        proxy.heal()
        assert connection.recv(1) == b"b"


def test_throttles_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.throttle(100_000)
        begin = time.monotonic()
        assert ask(connection, b"x" * 20_000) == b"x" * 20_000
        assert 0.2 <= time.monotonic() - begin < 30
        proxy.throttle(1)
        connection.sendall(b"y" * 1_000)
        poll_until(lambda: proxy.hits.throttled_blocks, lambda count: count > 0)
        proxy.heal()
        assert receive(connection, 1_000) == b"y" * 1_000


def test_a_black_hole_swallows_and_keeps_open(proxy: Proxy) -> None:
    with connect(proxy) as before, connect(proxy) as idle:
        assert ask(before, b"a") == ask(idle, b"a") == b"a"
        proxy.black_hole()
        with connect(proxy) as connection:
            for one in (before, connection):
                one.sendall(b"lost")
                one.settimeout(IMPATIENT_S)
                with pytest.raises(TimeoutError):
                    one.recv(1)
            poll_until(lambda: proxy.hits.swallowed_bytes, lambda count: count == 8)
            proxy.heal()
            before.sendall(b"more")
            with pytest.raises(TimeoutError):
                before.recv(1)
        assert ask(idle, b"a") == b"a"
        assert proxy.cut() >= 2


def test_a_black_hole_for_answers_lets_requests_through(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.black_hole(frozenset({Way.ANSWERS}))
        connection.sendall(b"heard")
        poll_until(lambda: proxy.hits.swallowed_bytes, lambda count: count == 5)
        assert proxy.hits.passed_bytes == 5


def test_loses_the_answer_to_a_request(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.lose_answer_to(b"COMMIT")
        assert ask(connection, b"BEGIN") == b"BEGIN"
        connection.sendall(b"COMMIT")
        poll_until(lambda: proxy.hits.swallowed_bytes, lambda count: count == 6)


def test_cuts_after_so_many_bytes_one_connection_after_the_other(proxy: Proxy) -> None:
    proxy.cut_after(1_000, 3_000)
    for size in (600, 1_600):
        with connect(proxy) as connection, pytest.raises(ConnectionResetError):
            ask(connection, b"x" * size)
    with connect(proxy) as connection:
        assert ask(connection, b"x" * 10_000) == b"x" * 10_000
    assert proxy.hits.cut == 2


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def ask(connection: socket.socket, data: bytes) -> bytes:
    sending = threading.Thread(target=connection.sendall, args=(data,))
    sending.start()
    try:
        return receive(connection, len(data))
    finally:
        sending.join(10)


def receive(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(65_536)):
        found += data
    if len(found) < size:
        raise ConnectionResetError("it ended early")
    return found


def _accept(listener: socket.socket, threads: list[threading.Thread]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threads.append(threading.Thread(target=_echo, args=(connection,)))
        threads[-1].start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except OSError:
            return
