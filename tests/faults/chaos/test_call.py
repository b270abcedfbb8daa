"""The logs of servers, read: which calls were repeated, and because of what."""

import json
from pathlib import Path

from tests.faults.chaos.call import Call, find_repeats, is_due_to, read_calls


def call(began: float, ended: float | None, status: int | None, key: str = "m#1") -> Call:
    return Call(key=key, server=0, began=began, ended=ended, status=status)


def log(directory: Path, arrivals: list[tuple[float, str]], ends: list[tuple[float, str, int]]) -> tuple[Path, Path]:
    arrived, ended = directory / "arrivals", directory / "requests"
    arrived.write_text("".join(f"{at} {key}\n" for at, key in arrivals))
    lines = [json.dumps({"time": at, "key": key, "status": status}) + "\n" for at, key, status in ends]
    ended.write_text("".join(lines) + '{"time": 9.0, "key": "torn')
    return arrived, ended


def test_calls_are_read_over_the_death_of_a_server(tmp_path: Path) -> None:
    """What a server had when it was killed ended with it, unanswered."""
    logs = log(tmp_path, [(1.0, "m#1"), (1.1, "m#2"), (3.0, "m#1")], [(1.5, "m#2", 200), (3.5, "m#1", 200)])
    assert read_calls(0, *logs, [2.0]) == [
        call(1.0, 2.0, None),
        call(1.1, 1.5, 200, "m#2"),
        call(3.0, 3.5, 200),
    ]


def test_a_row_that_was_called_twice_is_a_repeat() -> None:
    """Unless the server asked for it, or the caller retried the job."""
    answered, again = call(1.0, 2.0, 200), call(3.0, 4.0, 200)
    (repeat,) = find_repeats([again, answered], {})
    assert (repeat.first, repeat.again) == (answered, again)
    assert find_repeats([call(1.0, 2.0, 429), again], {}) == []
    assert find_repeats([answered, again], {"m#1": [2.5]}) == []
    assert len(find_repeats([answered, again], {"m#1": [5.0]})) == 1
    assert find_repeats([answered, call(3.0, 4.0, 200, "m#2")], {}) == []


def test_a_repeat_belongs_to_the_kill_between_its_calls() -> None:
    """A call that broke at another time, and one that was answered long before, were repeated for another reason."""
    (repeat,) = find_repeats([call(1.0, 2.0, 0), call(3.0, 4.0, 200)], {})
    assert is_due_to(repeat, 2.0, 2.0)
    assert not is_due_to(repeat, 0.5, 0.5), "before the first call"
    assert not is_due_to(repeat, 3.5, 3.5), "after the second call"
    (broken_before,) = find_repeats([call(1.0, 1.2, 0), call(3.0, 4.0, 200)], {})
    assert not is_due_to(broken_before, 2.9, 2.9)
    (long_committed,) = find_repeats([call(1.0, 1.2, 200), call(30.0, 31.0, 200)], {})
    assert not is_due_to(long_committed, 20.0, 20.0)
