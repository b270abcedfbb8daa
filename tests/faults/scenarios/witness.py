"""What processes and simulated servers have witnessed."""

import os
import signal
from collections import Counter
from dataclasses import replace

from lorax_batch_client import Job

from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import key_of
from tests.processes import Service, Simulator


def calls(tag: str, *simulators: Simulator) -> Counter[str]:
    """Return how often each row of a tag has arrived at the servers."""
    arrived: Counter[str] = Counter()
    for simulator in simulators:
        arrived.update(simulator.ask("requests")["received"])
    return Counter({key: count for key, count in arrived.items() if key.startswith(f"m#{tag}x")})


def answered(tag: str, simulator: Simulator) -> int:
    """Return how many rows of a tag the server has answered."""
    counts: dict[str, int] = simulator.ask("requests")["answered"]
    return sum(count for key, count in counts.items() if key.startswith(f"m#{tag}x"))


def once_each(tag: str, row_count: int) -> Counter[str]:
    """Return the calls of rows that were executed exactly once."""
    return Counter(key_of(tag, number) for number in range(row_count))


def check_unchanged(before: Job, after: Job) -> None:
    """Check that nothing has happened to a job; how fast it is told to go is no part of it."""
    assert replace(after, progress=None) == replace(before, progress=None)


def wait_fired(service: Service, name: str) -> None:
    """Return when a failpoint has fired."""
    poll_until(service.fired, lambda fired: name in fired)


def wait_logged(service: Service, event: str) -> None:
    """Return when the service has logged an event."""
    poll_until(lambda: event in service.log.read_text(encoding="utf-8"), bool)


def wait_arrived(tag: str, count: int, *simulators: Simulator) -> None:
    """Return when so many calls of a tag have arrived."""
    poll_until(lambda: calls(tag, *simulators).total(), lambda arrived: arrived >= count)


def freeze(service: Service) -> None:
    """Stop a service in whatever it does."""
    os.kill(service.pid, signal.SIGSTOP)


def thaw(service: Service) -> None:
    """Let a frozen service go on as if no time had passed."""
    os.kill(service.pid, signal.SIGCONT)
