"""Ingest takes any bytes: every line ends once, as a row or with the reason why it is none."""

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lorax_batch_scheduler.chunk import ENDPOINTS
from lorax_batch_scheduler.dataset import OnInvalid

from tests.fuzz.effort import FUZZED, SCALE
from tests.fuzz.ingest_check import check_file
from tests.fuzz.mutations import mutate
from tests.fuzz.nasty_files import COMPRESSED, GZIP, NASTY_FILES, ROWS, TEXTS, ZSTD
from tests.fuzz.odd_values import odd_json
from tests.unit.ingest.lines_of import MINIMAL, line_of

blocks = st.integers(1, 5_000)
MUTATED = 60


@pytest.mark.parametrize("name", NASTY_FILES)
def test_nasty_files_come_out_right_and_the_same_in_any_blocks(name, tmp_path):
    data = NASTY_FILES[name]
    check_file(tmp_path, data, OnInvalid.SKIP, (max(1, len(data) // 997), 65_537, 1 << 20))


def test_nasty_lines_hurt_no_good_rows_beside_them(tmp_path):
    run = check_file(tmp_path, b"\n".join([ROWS, *TEXTS.values(), ROWS]), OnInvalid.SKIP, (1 << 20, 999_983))
    assert set(range(1, 21)) <= set(run.valid_lines)
    assert run.outcome.reason == ""


@FUZZED
@given(data=st.binary(max_size=3_000), block=blocks, on_invalid=st.sampled_from(OnInvalid))
@example(data=b"\x1f\x8b", block=1, on_invalid=OnInvalid.FAIL)
def test_any_bytes_are_a_dataset_or_are_refused(data, block, on_invalid, tmp_path_factory):
    check_file(tmp_path_factory.mktemp("any"), data, on_invalid, (block, 1 << 20))


@pytest.mark.parametrize("original", ["rows", "gzip", "zstd", "nasty"])
def test_damaged_files_are_read_as_far_as_they_are_good(original, chance: Random, tmp_path_factory):
    fixed = {"rows": ROWS, "gzip": GZIP, "zstd": ZSTD}
    small = [data for data in (TEXTS | COMPRESSED).values() if len(data) < 20_000]
    for _ in range(MUTATED * SCALE):
        data = mutate(fixed.get(original) or chance.choice(small), chance)
        on_invalid = chance.choice(list(OnInvalid))
        check_file(tmp_path_factory.mktemp("damaged"), data, on_invalid, (chance.randint(1, 3_000), 1 << 20))


@FUZZED
@given(url=st.sampled_from(ENDPOINTS), data=st.data())
def test_any_field_of_a_request_may_be_anything(url, data, tmp_path_factory):
    lines = []
    for number in range(10):
        body = dict(MINIMAL[url])
        names = [*FIELD_NAMES, *body]
        for name in data.draw(st.lists(st.sampled_from(names), max_size=3)):
            target = body if url != "/generate" or name in body else body.setdefault("parameters", {})
            assert isinstance(target, dict)
            target[name] = data.draw(odd_json)
        lines.append(line_of(body, url, custom_id=f"row-{number}"))
    row = dict.fromkeys(["custom_id", "method", "url", "body"], data.draw(odd_json))
    lines.append(line_of(row.get("body"), row.get("url"), row.get("custom_id"), method=row["method"]))
    check_file(tmp_path_factory.mktemp("fields"), b"\n".join(lines), OnInvalid.SKIP, (700, 1 << 20))


FIELD_NAMES = [
    *(
        "model",
        "max_tokens",
        "max_completion_tokens",
        "max_new_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
    ),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "ignore_eos_token", "n", "best_of", "echo"),
    *("response_format", "tools", "tool_choice", "tool_prompt", "stream", "user", "metadata", "logprobs", "suffix"),
    *("adapter_source", "adapter_id", "merged_adapters", "encoding_format", "dimensions", "truncate", "typical_p"),
    *("do_sample", "return_full_text", "watermark", "details", "return_k_alternatives", "api_token", "logit_bias"),
]
