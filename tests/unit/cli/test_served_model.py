"""Which base model the servers run, when the caller does not say."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from lorax_batch_client import ServerState
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.cli.served_model import TELLS_NO_MODEL, find_served_model


@dataclass
class Servers:
    """A client that reports these servers, one list a call; the last one again and again."""

    lists: list[list[SimpleNamespace]]

    def list_servers(self) -> list[SimpleNamespace]:
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]


def server(model: str = "", *, state: ServerState = ServerState.READY, reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(state=state, base_model_id="", model_id=model, reason=reason)


def found(*lists: list[SimpleNamespace]) -> str:
    return find_served_model(Servers(list(lists)), sleep=lambda _: None)  # type: ignore[arg-type]


def test_the_first_server_that_answers_tells() -> None:
    silent = server(state=ServerState.UNREACHABLE, reason="connection refused")
    assert found([silent], [silent, server("m")]) == "m"


def test_servers_that_run_different_models_leave_the_choice_to_the_caller() -> None:
    with pytest.raises(CommandError, match="run different models \\(a, b\\)"):
        found([server("b"), server("a")])


def test_servers_that_answer_but_tell_no_model_are_not_waited_for() -> None:
    mute = server(state=ServerState.UNREACHABLE, reason=f"{TELLS_NO_MODEL}: declare it")
    with pytest.raises(CommandError, match="name it with --base-model"):
        found([mute, mute])
