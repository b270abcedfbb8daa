"""Reading results and writing lines: bytes in, bytes out."""

import msgspec
import pytest
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers import ServerAddress
from lorax_batch_scheduler.lorax_servers.response_head import header, number_header, retry_after_s
from lorax_batch_scheduler.running.answer import READERS
from lorax_batch_scheduler.running.result_line import error_line, success_line
from lorax_batch_scheduler.running.row_request import DOES_NOT_FIT, RowRequest

from tests.rows import make_work

CHAT_ANSWER = (
    b'{"id":"null","choices":[{"index":0,"message":{"role":"assistant","content":" hi"}}],'
    b'"usage":{"prompt_tokens":30,"total_tokens":409,"completion_tokens":379}}'
)


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (CHAT, CHAT_ANSWER, (30, 379)),
        (CHAT, b'{"choices":[{}],"usage":null}', (0, 0)),
        (CHAT, b'{"choices":[{}],"error":null}', (0, 0)),
        (COMPLETIONS, b'{"choices":[{"text":"x"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}', (1, 2)),
        (EMBEDDINGS, b'{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}', (4, 0)),
        (GENERATE, b'{"generated_text":"x"}', (0, 0)),
        (GENERATE, b'{"generated_text":"x","details":{"prompt_tokens":3,"generated_tokens":5}}', (3, 5)),
        (GENERATE, b'[{"generated_text":"x"}]', (0, 0)),
        (CHAT, '{"choices":[{"text":"für"}]}'.encode(), (0, 0)),
        (CHAT, b'{"choices":[]}', None),
        (CHAT, b'{"choices":[{}],"error":"Model is overloaded"}', None),
        (CHAT, b'{"error":"x","error_type":"y"}', None),
        (CHAT, b"<html>", None),
        (CHAT, b"", None),
        (CHAT, b'{"choices":[{"text":"\xff"}]}', None),
        (CHAT, CHAT_ANSWER[:-1], None),
        (EMBEDDINGS, b'{"data":[]}', None),
        (GENERATE, b"[]", None),
    ],
)
def test_only_a_result_is_taken_for_one(endpoint, body, tokens):
    assert READERS[endpoint](body) == tokens


def test_a_body_is_passed_through_untouched():
    line = success_line(b"job", 7, b'"a \\"b"', CHAT_ANSWER)
    assert CHAT_ANSWER in line
    value = msgspec.json.decode(line)
    assert list(value) == ["id", "custom_id", "response", "error"]
    assert value["custom_id"] == 'a "b'
    assert value["response"]["status_code"] == 200
    assert value["response"]["request_id"] == "req_job_7"


def test_what_a_server_calls_a_request_can_not_break_the_line():
    line = success_line(b"job", 7, b'"a"', CHAT_ANSWER, b'x","error":"y\xff')
    assert msgspec.json.decode(line)["response"]["request_id"] == 'x","error":"y\xff'


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_body_with_line_breaks_is_put_on_one_line(newline):
    line = success_line(b"job", 7, b'"a"', b'{"a":' + newline + b"1}" + newline)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert msgspec.json.decode(line)["response"]["body"] == {"a": 1}


@pytest.mark.parametrize(
    ("body", "shown"), [(b'{"error":\n"x"}', {"error": "x"}), (b"plain\n", "plain\n"), (b"", ""), (b"\xff", "�")]
)
def test_an_error_line_shows_what_the_server_said(body, shown):
    value = msgspec.json.decode(error_line(b"job", 7, b'"a"', code="c", message="m", status=422, body=body))
    assert value["response"] == {"status_code": 422, "request_id": "req_job_7", "body": shown}
    assert value["error"] == {"code": "c", "message": "m"}


def test_an_error_without_an_answer_has_no_response():
    value = msgspec.json.decode(error_line(b"job", 7, b'"a"', code="c", message="m"))
    assert value["response"] is None


def test_headers_are_found_whatever_their_case_and_only_in_the_head():
    raw = b"HTTP/1.1 200 OK\r\nX-Queue-Time:  12 \r\nRetry-After: 3\r\n\r\nx-other: 5\r\n"
    assert header(raw, b"x-queue-time") == b"12"
    assert number_header(raw, b"x-queue-time") == 12
    assert header(raw, b"x-other") is None
    assert retry_after_s(raw, 0.0) == 3


def test_retry_after_may_be_a_date():
    raw = b"HTTP/1.1 429 x\r\nretry-after: Thu, 01 Jan 1970 00:01:00 GMT\r\n\r\n"
    assert retry_after_s(raw, 20.0) == 40
    assert retry_after_s(raw, 90.0) == 0
    assert retry_after_s(b"HTTP/1.1 429 x\r\nretry-after: soon\r\n\r\n", 0.0) is None


LIMITS = ServerLimits(model_id="org/base", max_total_tokens=4096, max_batch_total_tokens=10_000, is_lorax=True)


def sent(work, limits=LIMITS, row=0):
    request = RowRequest(work, ServerAddress.from_url("http://h:1/p"), limits)
    head, _, body = request.build(row, request.max_tokens[row]).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    return head, msgspec.json.decode(body)


def test_a_request_is_put_together():
    head, body = sent(make_work(1, authorization=b"Bearer t", max_tokens=50))
    assert head.startswith(b"POST /p/v1/chat/completions HTTP/1.1\r\nHost: h:1\r\n")
    assert b"Authorization: Bearer t" in head
    assert (body["model"], body["max_tokens"]) == ("", 50)


def test_a_server_that_is_no_lorax_gets_its_own_models_name():
    limits = ServerLimits(model_id="org/base")
    assert sent(make_work(1), limits)[1]["model"] == "org/base"
    assert sent(make_work(1, adapter="a"), limits)[1]["model"] == "a"


def test_a_native_row_has_its_adapter_among_the_parameters():
    assert sent(make_work(1, endpoint=GENERATE, adapter="a"))[1]["parameters"] == {
        "adapter_id": "a",
        "max_new_tokens": 16,
    }
    assert sent(make_work(1, endpoint=GENERATE))[1]["parameters"] == {"max_new_tokens": 16}


@pytest.mark.parametrize(
    ("asked", "prompt", "limits", "max_tokens"),
    [
        (100, 10, LIMITS, 100),
        (9_000, 100, LIMITS, 4_046),
        (100, 9_000, LIMITS, DOES_NOT_FIT),
        (9_000, 100, ServerLimits(model_id="m", max_total_tokens=4096, max_batch_total_tokens=4096), 3_964),
        (9_000, 100, ServerLimits(model_id="m"), 9_000),
    ],
)
def test_max_tokens_is_cut_to_what_is_left(asked, prompt, limits, max_tokens):
    work = make_work(1, max_tokens=asked, prompt_tokens=prompt)
    assert RowRequest(work, ServerAddress.from_url("http://h"), limits).max_tokens == [max_tokens]


@pytest.mark.parametrize("endpoint", [CHAT, GENERATE])
def test_a_row_without_max_tokens_gets_the_room_there_is(endpoint):
    work = make_work(1, max_tokens=0, prompt_tokens=96, endpoint=endpoint)
    work.default_max_tokens = 0
    assert RowRequest(work, ServerAddress.from_url("http://h"), LIMITS).max_tokens == [4_000]
    assert "max_tokens" not in sent(work, ServerLimits(model_id="m"))[1]
