"""Rows packed into messages."""

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_server.row_packer import PackedRows, RowPacker, skip_lines

LINES = st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b" ") + b"\n"), min_size=1, max_size=20)
BATCHES = st.lists(st.tuples(LINES, st.booleans(), st.integers(0, 2)), max_size=8)


@given(BATCHES, st.integers(1, 120))
def test_every_line_is_sent_once_with_its_offset_and_kind(
    batches: list[tuple[list[bytes], bool, int]], message_bytes: int
) -> None:
    packer, packed, expected, offset = RowPacker(message_bytes), list[PackedRows](), [], 0
    for lines, error, gap in batches:
        offset += gap
        text = b"".join(lines)
        packed += packer.add(text, error=error, first_offset=offset, row_count=len(lines))
        expected += [(offset + place, error, line) for place, line in enumerate(lines)]
        offset += len(lines)
    packed += packer.flush()
    assert list(packer.flush()) == []
    sent = []
    for rows in packed:
        lines = [line + b"\n" for line in rows.lines.split(b"\n")[:-1]]
        assert len(lines) == rows.row_count > 0
        # Whole lines only, so a message is full when it lacks room for the next line at most.
        assert len(rows.lines) - len(lines[-1]) < message_bytes
        sent += [(rows.first_offset + place, rows.error, line) for place, line in enumerate(lines)]
    assert sent == expected


def test_small_pieces_of_one_kind_share_a_message() -> None:
    packer = RowPacker(100)
    for offset in range(5):
        assert list(packer.add(b"x\n", error=False, first_offset=offset, row_count=1)) == []
    (rows,) = packer.flush()
    assert (rows.first_offset, rows.row_count, rows.lines) == (0, 5, b"x\n" * 5)


def test_lines_are_skipped() -> None:
    assert skip_lines(b"a\nbb\n\nc\n", 0) == b"a\nbb\n\nc\n"
    assert skip_lines(b"a\nbb\n\nc\n", 2) == b"\nc\n"
    assert skip_lines(b"a\nbb\n\nc\n", 4) == b""
