"""What the service asks of the C library's allocator, and when it does not."""

import os
import platform
import subprocess
import sys

import pytest

ASK = "from lorax_batch_server.allocator import limit_held_memory; print(limit_held_memory())"


def ask(**variables: str) -> str:
    """Return the answer of a process of its own: what is asked can't be taken back."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return subprocess.run(
        [sys.executable, "-c", ASK], env=environment | variables, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_is_told_to_give_memory_back():
    assert ask() == "True"


def test_who_sets_a_variable_of_the_allocator_has_the_say():
    assert ask(MALLOC_ARENA_MAX="8") == "False"
