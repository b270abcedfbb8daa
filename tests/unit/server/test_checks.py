"""What a text of a request may hold."""

import pytest
from lorax_batch_server.checks import is_plain


@pytest.mark.parametrize("text", ["", "march", "März 3", "三月", "\U0001f44d\U0001f3fd", "a\u00a0b", "שלום"])
def test_text_of_every_script_is_plain(text: str) -> None:
    assert is_plain(text)


@pytest.mark.parametrize("text", ["a\0", "a\nb", "\x1b[2J", "\x7f", "\x9b2J", "a\x85b", "a\u2028b", "a\u2029b"])
def test_what_ends_lines_or_moves_cursors_is_not(text: str) -> None:
    assert not is_plain(text)
