"""Ranges are the segments again, neighbours joined; and lines are told from the text of a range."""

import random
from itertools import accumulate

import pytest
from lorax_batch_scheduler.retention.file_ranges import RANGE_BYTES, RangeWriter, SegmentPlace
from lorax_batch_scheduler.running.result_line import error_line, line_numbers, success_line


def place(first_offset: int, *, error: bool = False, rows: int = 1, line: int = 1, size: int = 10) -> SegmentPlace:
    return SegmentPlace(
        first_offset=first_offset,
        error=error,
        row_count=rows,
        first_line=line,
        last_line=line + rows - 1,
        byte_count=size,
    )


def test_neighbours_of_one_file_become_one_range() -> None:
    writer = RangeWriter()
    writer.add([place(0, rows=3, line=7), place(3, rows=2, line=2)])
    writer.add([place(5, error=True, line=1), place(6, line=6)])
    told = [
        (each.first_offset, each.error, each.row_count, each.file_offset, each.byte_count) for each in writer.ranges
    ]
    assert told == [(0, False, 5, 0, 20), (5, True, 1, 0, 10), (6, False, 1, 20, 10)]
    assert (writer.ranges[0].first_line, writer.ranges[0].last_line) == (2, 9)
    assert (writer.sizes(error=False), writer.sizes(error=True)) == ((6, 30), (1, 10))


def test_a_range_is_never_larger_than_one_read_unless_one_segment_is() -> None:
    writer = RangeWriter()
    half = RANGE_BYTES // 2
    writer.add([place(0, size=half), place(1, size=half), place(2, size=1), place(3, size=3 * half), place(4, size=1)])
    assert [each.byte_count for each in writer.ranges] == [2 * half, 1, 3 * half, 1]


@pytest.mark.parametrize("seed", range(20))
def test_ranges_cover_offsets_and_files_without_gap(seed: int) -> None:
    chance = random.Random(seed)
    rows = [chance.randint(1, 2_000) for _ in range(200)]
    offsets = [0, *accumulate(rows)][:-1]
    segments = [
        place(first, error=chance.random() < 0.2, rows=count, size=chance.randint(1, RANGE_BYTES // 3))
        for first, count in zip(offsets, rows, strict=True)
    ]
    writer = RangeWriter()
    writer.add(segments)
    end, ends = 0, {False: 0, True: 0}
    for each in writer.ranges:
        assert each.first_offset == end
        assert each.file_offset == ends[each.error]
        end += each.row_count
        ends[each.error] += each.byte_count
    assert end == sum(rows)
    assert {error: (writer.sizes(error=error)[1]) for error in ends} == ends


def test_lines_are_told_from_what_was_written_whatever_the_rows_say() -> None:
    odd = b'"\\"custom_id\\":\\n\\u2028"'
    text = b"".join(
        [
            success_line(b"job_1", 70_000_000, odd, b'{\r "id":"batch_req_job_1_9"}', b"its own"),
            error_line(b"job_1", 0, b"null", code="dataset_damaged", message="a\nb"),
            success_line(b"job_1", 3, b'"x"', b"{}"),
        ]
    )
    assert line_numbers(b"job_1", text) == [70_000_000, 0, 3]
    assert line_numbers(b"job_1", b"") == []
