"""From bytes to chunks: which line ends where, and the limits of files."""

import gzip
import hashlib
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lorax_batch_scheduler.chunk import CHAT, MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, request_head
from lorax_batch_scheduler.dataset import InvalidLine, ModelCount, OnInvalid
from lorax_batch_scheduler.ingest.engine import Ingest
from lorax_batch_scheduler.ingest.limits import IngestLimits

from tests.unit.ingest.lines_of import MINIMAL, Run, chat, chat_line, line_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def test_every_row_ends_in_a_chunk_of_its_adapter(tmp_path):
    lines = [chat_line(f"r{n}", f"text {n}", model=f"adapter-{n % 3}", max_tokens=n + 1) for n in range(100)]
    run = Run(tmp_path, b"".join(lines))
    assert run.valid_lines == list(range(1, 101))
    assert [chunk.model for chunk in run.chunks] == ["adapter-0", "adapter-1", "adapter-2"]
    for chunk in run.chunks:
        for line, custom_id, tokens in zip(chunk.lines, chunk.custom_ids, chunk.max_tokens, strict=True):
            assert (custom_id, tokens) == (b'"r%d"' % (line - 1), line)
    summary = run.outcome.summary
    assert (summary.row_count, summary.model_count, summary.invalid.line_count) == (100, 3, 0)
    assert summary.models[0] == ModelCount("adapter-0", 34)
    assert summary.sha256 == hashlib.sha256(b"".join(lines)).hexdigest()
    assert summary.byte_count == len(b"".join(lines))
    assert summary.prompt_tokens == sum(chunk.prompt_tokens for chunk in run.outcome.chunks)
    assert sum(chunk.max_tokens for chunk in run.outcome.chunks) == 5050


def test_rows_of_several_urls_may_stand_in_one_file(tmp_path):
    lines = [line_of(body, url, custom_id=url) for url, body in MINIMAL.items()]
    run = Run(tmp_path, b"\n".join(lines))
    assert {chunk.endpoint for chunk in run.chunks} == set(MINIMAL)


def test_rows_with_the_same_prefix_stand_together(tmp_path):
    prompts = [f"prompt {n % 5}, question {n}" for n in range(1_500)]
    run = Run(tmp_path, b"".join(chat_line(f"r{n}", prompt) for n, prompt in enumerate(prompts)))
    order = [prompts[line - 1].split(",")[0] for chunk in run.chunks for line in chunk.lines]
    changes = sum(before != after for before, after in pairwise(order))
    assert changes == 4


@pytest.mark.parametrize(("rows", "chunks"), [(MAX_CHUNK_ROWS - 1, 1), (MAX_CHUNK_ROWS, 1), (MAX_CHUNK_ROWS + 1, 2)])
def test_a_chunk_has_at_most_so_many_rows(tmp_path, rows, chunks):
    run = Run(tmp_path, b"".join(chat_line(f"r{n}") for n in range(rows)))
    assert len(run.chunks) == chunks
    assert max(len(chunk.lines) for chunk in run.chunks) <= MAX_CHUNK_ROWS


@pytest.mark.parametrize(("spare", "chunks"), [(1, 1), (0, 1), (-1, 2)])
def test_a_chunk_has_at_most_so_many_bytes(tmp_path, spare, chunks):
    tail_bytes = len(b',"messages":[{"role":"user","content":""}]}')
    half = MAX_CHUNK_BYTES // 2 - tail_bytes
    run = Run(tmp_path, chat_line("a", "x" * half) + chat_line("b", "x" * (half - spare)))
    assert len(run.chunks) == chunks


def test_a_row_larger_than_a_chunk_makes_one_of_its_own(tmp_path):
    run = Run(tmp_path, chat_line("a") + chat_line("b", "x" * (MAX_CHUNK_BYTES + 9)) + chat_line("c"))
    assert sorted(len(chunk.lines) for chunk in run.chunks) == [1, 2]


def test_packs_are_closed_when_they_are_full(tmp_path):
    lines = [chat_line(f"r{n}", model=f"m{n}") for n in range(30)]
    run = Run(tmp_path, b"".join(lines), limits=IngestLimits(pack_bytes=1_000))
    assert run.outcome.packs == [f"pack-{n:05d}" for n in range(len(run.outcome.packs))]
    assert len(run.outcome.packs) == 3
    assert run.valid_lines == list(range(1, 31))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
def test_how_lines_end_does_not_matter(tmp_path, newline, bom, block_bytes):
    rows = [chat_line("a").rstrip(), b"", chat_line("b").rstrip(), b"  ", chat_line("c").rstrip()]
    run = Run(tmp_path, bom + newline.join(rows), block_bytes=block_bytes)
    assert run.valid_lines == [1, 3, 5]
    assert run.outcome.summary.row_count == 3


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("block_bytes", [1, 5, 1 << 20])
def test_compressed_files_are_read(tmp_path, pack, block_bytes):
    halves = [b"".join(chat_line(f"{part}{n}") for n in range(9)) for part in "ab"]
    data = b"".join(map(pack, halves))
    run = Run(tmp_path, data, block_bytes=block_bytes)
    assert run.valid_lines == list(range(1, 19))
    assert run.outcome.summary.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: data[:20] + b"\0\0\0\0" + data[24:]])
def test_a_broken_compressed_file_fails_as_a_whole(tmp_path, pack, damage):
    lines = b"".join(chat_line(f"r{n}", f"{n * 7919}") for n in range(50))
    run = Run(tmp_path, damage(pack(lines)))
    assert "corrupt_compression" in run.codes
    assert run.outcome.reason
    assert run.outcome.chunks == []


@pytest.mark.parametrize(("limit", "code"), [(10_001, None), (10_000, None), (9_999, "file_too_large")])
def test_a_decompression_bomb_is_stopped(tmp_path, limit, code):
    data = chat_line("a") + b"\n" * (10_000 - len(chat_line("a")))
    run = Run(tmp_path, gzip.compress(data), limits=IngestLimits(max_decompressed_bytes=limit))
    assert list(run.codes) == ([code] if code else [])


@pytest.mark.parametrize(("spare", "code"), [(1, None), (0, None), (-1, "file_too_large")])
def test_a_file_has_a_largest_size(tmp_path, spare, code):
    data = chat_line("a") + chat_line("b")
    run = Run(tmp_path, data, limits=IngestLimits(max_input_bytes=len(data) + spare))
    assert list(run.codes) == ([code] if code else [])


@pytest.mark.parametrize(("limit", "code"), [(4, None), (3, None), (2, "file_too_large")])
def test_a_file_has_a_largest_number_of_lines(tmp_path, limit, code):
    run = Run(tmp_path, chat_line("a") + b"\n" + chat_line("b"), limits=IngestLimits(max_lines=limit))
    assert list(run.codes) == ([code] if code else [])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_told(tmp_path, data):
    run = Run(tmp_path, data)
    assert run.codes == {"empty_file": 1}
    assert run.outcome.reason.startswith("the file holds no rows")


@pytest.mark.parametrize(("spare", "long"), [(1, False), (0, False), (-1, True)])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_a_line_has_a_largest_size(tmp_path, spare, long, newline, block_bytes):
    line = chat_line("b", "x" * 400).rstrip()
    limits = IngestLimits(max_line_bytes=len(line) + spare)
    run = Run(tmp_path, chat_line("a") + line + newline, limits=limits, block_bytes=block_bytes)
    assert run.codes == ({"line_too_long": 1} if long else {})
    if long:
        assert run.invalid[0].custom_ids == ["b"]


def test_a_huge_line_is_never_held_whole(tmp_path):
    limits = IngestLimits()
    engine = Ingest(tmp_path, limits, OnInvalid.SKIP)
    engine.feed(chat_line("a") + b'{"custom_id": "b", "x": "')
    for _ in range(50):
        engine.feed(b"x" * (1 << 20))
        assert len(engine._splitter._rest) <= limits.max_line_bytes + 5
    engine.feed(b'"}\n' + chat_line("c"))
    outcome = engine.finish()
    engine.close()
    assert [(code.code, code.first_lines[0].line) for code in outcome.summary.invalid.codes] == [("line_too_long", 2)]
    assert outcome.summary.row_count == 3


def test_the_largest_line_still_fits_into_a_request(tmp_path):
    limits = IngestLimits()
    text = "x" * (limits.max_line_bytes - len(chat_line("a", "")) + 1)
    run = Run(tmp_path, chat_line("a", text))
    (chunk,) = run.chunks
    assert len(request_head(CHAT, "m" * 1_024, "s3")) + 30 + len(chunk.tails[0]) < 2 << 20


@pytest.mark.parametrize(("limit", "bad"), [(3, 0), (2, 0), (1, 2)])
def test_the_number_of_adapters_is_limited(tmp_path, limit, bad):
    rows = chat_line("a", model="m1") + chat_line("b", model="m2") + chat_line("c", model="m1")
    run = Run(tmp_path, rows + chat_line("d", model="m2"), limits=IngestLimits(max_groups=limit))
    assert run.codes == ({"too_many_adapters": bad} if bad else {})
    assert len(run.valid_lines) == 4 - bad


def test_with_fail_one_bad_line_fails_the_dataset_and_all_are_reported(tmp_path):
    bad = b"".join(line_of(chat(stream=True), custom_id=f"bad{n}") + b"\n" for n in range(30))
    run = Run(tmp_path, chat_line("a") + bad + b"{\n" + chat_line("b"), on_invalid=OnInvalid.FAIL)
    assert run.codes == {"streaming_unsupported": 30, "invalid_json_line": 1}
    assert run.outcome.reason.startswith("31 of 33 lines are invalid (30 streaming_unsupported, 1 invalid_json_line)")
    first = run.outcome.summary.invalid.codes[0].first_lines
    assert [line.line for line in first] == list(range(2, 22))
    assert (run.outcome.chunks, run.outcome.packs) == ([], [])
    assert len(run.told) == 31


def test_with_skip_bad_lines_go_into_chunks_of_their_own(tmp_path):
    bad = line_of(chat(stream=True), custom_id="bad") + b"\n"
    run = Run(tmp_path, chat_line("a") + bad + b"{\n" + chat_line("b"))
    assert run.outcome.reason == ""
    assert (run.valid_lines, run.invalid_lines) == ([1, 4], [2, 3])
    (chunk,) = run.invalid
    assert chunk.custom_ids == ["bad", None]
    assert chunk.codes == ["streaming_unsupported", "invalid_json_line"]
    assert chunk.params == ["body.stream", ""]
    assert run.outcome.summary.row_count == 4


def test_with_skip_a_dataset_without_any_good_row_fails(tmp_path):
    run = Run(tmp_path, b"{\n{\n")
    assert run.outcome.reason == "2 of 2 lines are invalid (2 invalid_json_line): no row is left to run"
    assert run.outcome.chunks == []


@pytest.mark.parametrize("on_invalid", OnInvalid)
def test_of_equal_ids_the_first_stays(tmp_path, on_invalid):
    ids = ["a", "b", "a", "c", "b", "a", "ä", "\u00e4"]
    run = Run(tmp_path, b"".join(chat_line(custom_id) for custom_id in ids), on_invalid=on_invalid)
    assert run.codes == {"duplicate_custom_id": 4}
    messages = {line.line: line.message for line in run.told}
    assert messages[3] == "'custom_id' \"a\" stands in line 1 already: give each row its own"
    assert "line 2 already" in messages[5]
    if on_invalid is OnInvalid.SKIP:
        assert (run.valid_lines, run.invalid_lines) == ([1, 2, 4, 7], [3, 5, 6, 8])
        assert run.outcome.summary.models == [ModelCount("", 4)]


def test_an_id_of_a_bad_line_counts_as_taken(tmp_path):
    bad = line_of(chat(stream=True), custom_id="a") + b"\n"
    run = Run(tmp_path, bad + chat_line("a") + bad + chat_line("b"))
    assert run.codes == {"streaming_unsupported": 2, "duplicate_custom_id": 1}
    assert run.invalid_lines == [1, 2, 3]


def test_duplicates_are_taken_out_of_packs_that_are_written_already(tmp_path):
    rows = [chat_line(f"r{n % 2_500}", f"text {n}", model=f"m{n % 2}") for n in range(5_000)]
    run = Run(tmp_path, b"".join(rows), limits=IngestLimits(pack_bytes=1_000))
    assert run.valid_lines == list(range(1, 2_501))
    assert run.invalid_lines == list(range(2_501, 5_001))
    assert run.codes == {"duplicate_custom_id": 2_500}


def test_many_adapters_share_the_memory_by_spilling(tmp_path):
    rows = [chat_line(f"r{n}", f"text {n}", model=f"m{n % 400}") for n in range(8_000)]
    limits = IngestLimits(max_buffered_bytes=200_000)
    run = Run(tmp_path, b"".join(rows), limits=limits)
    assert run.valid_lines == list(range(1, 8_001))
    assert len(run.chunks) == 400
    assert {line % 400 for line in run.chunks[0].lines} == {(run.chunks[0].lines[0]) % 400}
    assert run.outcome.summary.model_count == 400


def test_a_partition_larger_than_the_memory_makes_smaller_chunks(tmp_path):
    rows = [chat_line(f"r{n}", "x" * 500, model=f"m{n % 5}") for n in range(1_000)]
    run = Run(tmp_path, b"".join(rows), limits=IngestLimits(max_buffered_bytes=20_000))
    assert run.valid_lines == list(range(1, 1_001))
    assert len(run.chunks) >= 5


def test_checking_only_writes_nothing(tmp_path):
    told: list[InvalidLine] = []
    engine = Ingest(tmp_path, IngestLimits(), OnInvalid.SKIP, check_only=True, listener=told.append)
    engine.feed(chat_line("a", model="m") + b"{\n" + chat_line("a", model="m"))
    outcome = engine.finish()
    engine.close()
    assert list(tmp_path.iterdir()) == []
    assert [line.code for line in told] == ["invalid_json_line", "duplicate_custom_id"]
    assert outcome.summary.row_count == 3
    assert outcome.summary.models == [ModelCount("m", 2)]


junk = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"", b"{}", b"\r", b'{"custom_id":"a"}', b"\x1f\x8b", b"\xef\xbb\xbf", b"\x28\xb5\x2f\xfd"]),
    st.builds(
        lambda custom_id, model, extra: line_of(chat(model=model, **extra), custom_id=custom_id),
        st.sampled_from("abcdefgh"),
        st.sampled_from(["", "m", "n"]),
        st.sampled_from([{}, {}, {"stream": True}, {"max_tokens": 5}]),
    ),
)


@given(st.lists(junk, max_size=12), st.integers(1, 40), st.sampled_from(OnInvalid))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_line_that_is_not_blank_ends_in_exactly_one_chunk(tmp_path_factory, pieces, block_bytes, on_invalid):
    data = b"\n".join(pieces)
    run = Run(tmp_path_factory.mktemp("scratch"), data, on_invalid=on_invalid, block_bytes=block_bytes)
    counted = sum(run.codes.values())
    assert counted == len(run.told) == run.outcome.summary.invalid.line_count
    if run.outcome.reason:
        assert run.outcome.chunks == []
        return
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [number for number, line in enumerate(lines, start=1) if line.strip()]
    ended = Counter(run.valid_lines + run.invalid_lines)
    assert sorted(ended) == expected
    assert set(ended.values()) == {1}
    assert sorted(line.line for line in run.told) == run.invalid_lines
    assert run.outcome.summary.row_count == len(expected)
    assert len({custom_id for chunk in run.chunks for custom_id in chunk.custom_ids}) == len(run.valid_lines)
