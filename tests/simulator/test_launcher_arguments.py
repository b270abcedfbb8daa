"""A simulated server started with a real launcher's arguments."""

import pytest
from lorax_simulator.options import read_arguments, server_options


def test_limits_of_a_launcher_are_taken_over_and_the_rest_is_ignored() -> None:
    words = "--max-total-tokens 2048 --quantize eetq --eager-prefill false --max-concurrent-requests=7 --json-output"
    limits = server_options(read_arguments(["--launcher-arguments", *words.split()])).limits
    assert (limits.max_total_tokens, limits.max_concurrent_requests, limits.eager_prefill) == (2048, 7, False)
    assert limits.max_input_length == 2047


def test_none_at_all_change_nothing() -> None:
    assert server_options(read_arguments(["--launcher-arguments"])) == server_options(read_arguments([]))


def test_a_limit_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--launcher-arguments", "--max-total-tokens", "many"])
    assert "many" in capsys.readouterr().err
