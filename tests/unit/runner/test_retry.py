"""The retry table, row by row against how a LoRAX server and its like fail."""

import pytest
from lorax_batch_scheduler.lorax_servers import WireFault
from lorax_batch_scheduler.running.bad_answer import BadAnswer, read_bad_answer
from lorax_batch_scheduler.running.retry import MAX_ATTEMPTS, MAX_EXCUSED, Action, RowFacts, Signal, decide
from lorax_batch_scheduler.work import RowTrouble

PREFIX = "Request failed during generation: Server error: "


def lorax(status, error_type, message):
    body = b'{"error":%s,"error_type":"%s"}' % (_json(message), error_type.encode())
    return read_bad_answer(status, b"application/json", body, None)


def text(status, message):
    return read_bad_answer(status, b"text/plain; charset=utf-8", message.encode(), None)


def openai(status, message, kind="", headers_s=None):
    body = b'{"error":{"message":%s,"type":"%s","code":null}}' % (_json(message), kind.encode())
    return read_bad_answer(status, b"application/json", body, headers_s)


def _json(value):
    return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def after(answer, *, adapter="", constrained=False, company=0, crowd=40, trusted=True, **trouble):
    facts = RowFacts(adapter=adapter, constrained=constrained, company=company, crowd=crowd, trusted=trusted)
    return decide(answer, facts, RowTrouble(**trouble), 0.5)


PERMANENT = [
    (lorax(422, "validation", "Input validation error: `temperature` must be non-negative"), "validation_error"),
    (lorax(422, "validation", "Input validation error: `inputs` cannot be empty"), "validation_error"),
    (lorax(422, "validation", "Input validation error: `stop` supports up to 4 stop sequences. Given: 5"),
     "validation_error"),
    (lorax(422, "template_error", "Failed applying chat template to inputs: roles must alternate"), "template_error"),
    (lorax(422, "missing_template_variable", "Missing template vatiable: guideline"), "missing_template_variable"),
    (lorax(422, "tool_error", "Tool error: no such function"), "tool_error"),
    (text(400, "Failed to parse the request body as JSON: EOF"), "bad_request"),
    (text(422, "Failed to deserialize the JSON body into the target type: stop: invalid type"), "unprocessable_entity"),
    (text(415, "Expected request with `Content-Type: application/json`"), "unsupported_media_type"),
    (text(413, "Failed to buffer the request body: length limit exceeded"), "request_too_large"),
    (text(404, ""), "not_found"),
    (text(405, ""), "method_not_allowed"),
    (openai(401, "Incorrect API key provided", "invalid_request_error"), "unauthorized"),
    (openai(429, "You exceeded your current quota", "insufficient_quota"), "insufficient_quota"),
    (lorax(422, "validation", "`inputs` must have less than 4095 tokens. Given: 5000"), "context_length_exceeded"),
    (BadAnswer(fault=WireFault.TOO_LARGE, message="65 MiB"), "answer_too_large"),
    (lorax(424, "generation", PREFIX + "Model does not support embeddings"), "endpoint_unsupported"),
    (lorax(424, "generation", PREFIX + "does not support text generation"), "endpoint_unsupported"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "code"), PERMANENT)
def test_what_will_not_get_better_fails_the_row_at_once(answer, code):
    decision = after(answer)
    assert (decision.action, decision.code) == (Action.FAIL_ROW, code)
    assert decision.message


BAD_ADAPTERS = [
    ("Repository Not Found for url: https://hub/api/models/x", "adapter_not_found"),
    ("404 Client Error. (Request ID: 1)", "adapter_not_found"),
    ("401 Client Error: Unauthorized", "adapter_forbidden"),
    ("403 Client Error: Forbidden", "adapter_forbidden"),
    ("Cannot access gated repo for url", "adapter_forbidden"),
    ("No valid adapter config file found: tried None and None", "adapter_invalid"),
    ("No local weights found for x", "adapter_invalid"),
    ("weights found for model x with revision None", "adapter_invalid"),
    ("Adapter x is not compatible with model y. Architectures differ", "adapter_incompatible"),
    ("Adapter x is larger than adapter memory reservation: 9 > 8", "adapter_too_large"),
    ("This model does not support adapter loading", "adapter_unsupported"),
    ("Invalid source ftp", "adapter_invalid"),
    ("Adapter a/1 is not ready for use. Current status: Training", "adapter_not_ready"),
    ("Adapter a/1 is not yet available", "adapter_not_ready"),
    ("400 Client Error for url https://pbase/", "adapter_not_found"),
    ("x is too short for prefix filtering", "adapter_invalid"),
    ("Invalid model_id", "adapter_invalid"),
    ("Multiple models found", "adapter_invalid"),
]


@pytest.mark.parametrize(("message", "code"), BAD_ADAPTERS)
def test_a_bad_adapter_fails_its_rows(message, code):
    decision = after(lorax(424, "generation", PREFIX + message), adapter="org/lora")
    assert (decision.action, decision.code) == (Action.FAIL_ADAPTER, code)


@pytest.mark.parametrize(("message", "code"), BAD_ADAPTERS)
def test_a_row_of_the_base_model_is_not_blamed_on_an_adapter(message, code):
    decision = after(lorax(424, "generation", PREFIX + message))
    assert decision.action is Action.RETRY_HERE
    assert decision.batch_failure


@pytest.mark.parametrize(
    "message", ["Memory reserved for adapters is 0", "This server does not support dynamic adapter loading"]
)
def test_a_server_without_dynamic_adapters_is_left_for_another(message):
    assert after(lorax(424, "generation", PREFIX + message), adapter="a").action is Action.ADAPTER_ELSEWHERE


@pytest.mark.parametrize(
    "message",
    ["HTTPSConnectionPool(host='hub'): Read timed out.", "Connection aborted.", "503 Server Error: Slow Down for url"],
)
def test_a_failed_download_is_tried_again_later_and_not_for_ever(message):
    answer = lorax(424, "generation", PREFIX + message)
    first = after(answer, adapter="a")
    assert (first.action, first.counts, first.defers_adapter) == (Action.RETRY_HERE, True, True)
    assert first.delay_s >= 5
    last = after(answer, adapter="a", attempts=MAX_ATTEMPTS - 1)
    assert (last.action, last.code) == (Action.FAIL_ADAPTER, "adapter_download_failed")


SCHEMA_TEXTS = [
    "Could not translate the instance {'x': 1} to a regular expression",
    "Format email is not supported by Outlines",
    "'#/$defs/a' does not exist within {}",
    "maximum recursion depth exceeded",
    "Unsupported data type in enum: dict",
]


@pytest.mark.parametrize("message", SCHEMA_TEXTS)
def test_a_schema_that_does_not_compile_costs_only_its_own_row(message):
    answer = lorax(424, "generation", PREFIX + message)
    assert after(answer).action is Action.RETRY_HERE
    assert after(answer, constrained=True).action is Action.RETRY_APART
    alone = after(answer, constrained=True, company=1, batch_failures=1)
    assert (alone.action, alone.code) == (Action.FAIL_ROW, "invalid_schema")


def test_a_server_without_structured_output_fails_only_constrained_rows():
    answer = lorax(424, "generation", PREFIX + "`outlines` is not installed")
    assert after(answer, constrained=True).code == "structured_output_unsupported"
    assert after(answer, constrained=True).action is Action.FAIL_ROW
    assert after(answer).action is Action.RETRY_HERE


@pytest.mark.parametrize(
    ("answer", "signal"),
    [
        (lorax(424, "generation", PREFIX + "CUDA out of memory. Tried to allocate"), Signal.OUT_OF_MEMORY),
        (lorax(424, "generation", PREFIX + "Not enough memory to handle"), Signal.OUT_OF_MEMORY),
        (lorax(424, "generation", PREFIX + "Batch ID 7 not found in cache."), Signal.SICK),
        (lorax(424, "generation", PREFIX + "CUDA error: device-side assert triggered"), Signal.SICK),
        (lorax(424, "generation", "Request failed during generation: transport error"), Signal.SICK),
        (lorax(424, "generation", PREFIX + "error trying to connect: Broken pipe"), Signal.SICK),
        (lorax(424, "generation", PREFIX + "Could not connect to LoRAX server"), Signal.SICK),
        (lorax(424, "generation", PREFIX + "shape mismatch"), Signal.NONE),
        (BadAnswer(fault=WireFault.RESET), Signal.NONE),
        (BadAnswer(fault=WireFault.CUT), Signal.NONE),
        (BadAnswer(fault=WireFault.STALLED), Signal.NONE),
        (text(502, "<html>Bad Gateway</html>"), Signal.SICK),
        (text(503, "upstream connect error"), Signal.SICK),
    ],
)
def test_a_failure_of_all_rows_is_no_attempt_but_isolates_the_row_that_keeps_being_there(answer, signal):
    first = after(answer)
    assert first.action in (Action.RETRY_HERE, Action.RETRY_ELSEWHERE)
    assert (first.counts, first.batch_failure, first.signal) == (False, True, signal)
    assert after(answer, batch_failures=1).action is Action.RETRY_APART
    assert after(answer, batch_failures=2).action is Action.RETRY_APART, "it was not alone yet"
    assert after(answer, batch_failures=2, company=1).action is Action.FAIL_ROW


def test_suspects_are_sent_with_a_quarter_as_many_each_time_until_one_is_alone():
    answer = lorax(424, "generation", PREFIX + "shape mismatch")
    companies = [after(answer, batch_failures=1, crowd=900).company]
    while companies[-1] > 1:
        companies.append(after(answer, batch_failures=2, company=companies[-1], crowd=900).company)
    assert companies == [225, 56, 14, 3, 1]


def test_a_server_that_answers_nobody_is_to_blame_itself_but_not_for_ever():
    answer = lorax(424, "generation", PREFIX + "CUDA error: device-side assert triggered")
    excused = after(answer, trusted=False, batch_failures=2, company=1)
    assert (excused.action, excused.batch_failure, excused.excused) == (Action.RETRY_ELSEWHERE, False, True)
    assert after(answer, trusted=False, batch_failures=2, company=1, excused=MAX_EXCUSED).action is Action.FAIL_ROW
    poison = lorax(424, "generation", PREFIX + "shape mismatch")
    assert after(poison, trusted=False).batch_failure, "only what says that the server is sick is put down to it"


def test_a_broken_shard_sends_its_rows_elsewhere():
    answer = lorax(424, "generation", PREFIX + "CUDA error: device-side assert triggered")
    assert after(answer).action is Action.RETRY_ELSEWHERE


@pytest.mark.parametrize("answer", [lorax(429, "overloaded", "Model is overloaded"), text(429, "slow down")])
def test_a_full_server_costs_no_attempt(answer):
    decision = after(answer, attempts=MAX_ATTEMPTS - 1, batch_failures=5)
    assert (decision.action, decision.counts, decision.batch_failure) == (Action.RETRY_HERE, False, False)
    assert decision.signal is Signal.OVERLOADED
    assert 0 < decision.delay_s < 2


def test_retry_after_is_heeded_within_reason():
    assert after(openai(429, "slow down", headers_s=7.0)).delay_s == 7.0
    assert after(openai(429, "slow down", headers_s=1e9)).delay_s == 300.0
    assert after(openai(500, "oops", headers_s=9.0)).delay_s == 9.0


def test_a_refused_connection_says_nothing_about_the_row():
    decision = after(BadAnswer(fault=WireFault.REFUSED), attempts=MAX_ATTEMPTS - 1)
    assert (decision.action, decision.counts, decision.batch_failure) == (Action.RETRY_HERE, False, False)


COUNTED = [
    (lorax(500, "incomplete_generation", "Incomplete generation"), "incomplete_generation"),
    (openai(500, "internal error"), "server_error"),
    (text(504, "gateway time-out"), "gateway_timeout"),
    (text(408, ""), "request_timeout"),
    (text(409, ""), "conflict"),
    (text(520, "what"), "server_error"),
    (text(200, "<html>welcome to the proxy</html>"), "invalid_response"),
    (text(200, ""), "invalid_response"),
    (text(302, ""), "unexpected_status"),
    (BadAnswer(fault=WireFault.GARBAGE), "invalid_response"),
    (BadAnswer(fault=WireFault.TIMED_OUT), "row_timed_out"),
]


@pytest.mark.parametrize(("answer", "code"), COUNTED)
def test_what_may_get_better_is_an_attempt(answer, code):
    delays = []
    for attempts in range(MAX_ATTEMPTS - 1):
        decision = after(answer, attempts=attempts)
        assert (decision.action, decision.counts) == (Action.RETRY_HERE, True)
        delays.append(decision.delay_s)
    assert delays == sorted(delays)
    last = after(answer, attempts=MAX_ATTEMPTS - 1)
    assert (last.action, last.code) == (Action.FAIL_ROW, code)


@pytest.mark.parametrize(
    "answer",
    [
        lorax(500, "embedding_failure", "Embedding Failure"),
        lorax(500, "classification_failure", "Classification Failure"),
        lorax(422, "tool_error", "Tool error: Failed to parse generated text: EOF"),
    ],
)
def test_some_failures_are_worth_one_more_try(answer):
    assert after(answer).action is Action.RETRY_HERE
    assert after(answer, attempts=1).action is Action.FAIL_ROW


@pytest.mark.parametrize(
    ("error_type", "message", "action"),
    [
        ("generation", PREFIX + "Repository Not Found", Action.FAIL_ADAPTER),
        ("overloaded", "Model is overloaded", Action.RETRY_HERE),
        ("validation", "Input validation error: x", Action.FAIL_ROW),
        ("something", "odd", Action.RETRY_HERE),
    ],
)
def test_an_error_in_an_answer_of_status_200_is_read(error_type, message, action):
    assert after(lorax(200, error_type, message), adapter="a").action is action


@pytest.mark.parametrize(
    ("message", "room"),
    [
        (
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
                "Given: 3000 `inputs` tokens "
                "and 2000 `max_new_tokens`"
            ),
            1096,
        ),
        (
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (3000 in the "
                "messages, 2000 in the completion). Please reduce"
            ),
            1096,
        ),
        (
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 2000. "
                "This model's maximum context length is 4096 "
                "tokens and your request has 3000 input tokens"
            ),
            1096,
        ),
    ],
)
def test_a_row_that_asks_for_too_much_is_sent_once_more_with_what_is_left(message, room):
    for answer in (lorax(422, "validation", message), openai(400, message)):
        decision = after(answer)
        assert (decision.action, decision.max_tokens, decision.counts) == (Action.RETRY_HERE, room, False)
        again = after(answer, max_tokens=room)
        assert (again.action, again.code) == (Action.FAIL_ROW, "context_length_exceeded")


def test_a_prompt_that_leaves_no_room_fails():
    message = "must be <= 4096. Given: 4096 `inputs` tokens and 1 `max_new_tokens`"
    assert after(lorax(422, "validation", message)).action is Action.FAIL_ROW


def test_an_openai_server_that_lacks_the_adapter_fails_its_rows():
    answer = openai(404, "The model `a` does not exist.", "NotFoundError")
    assert after(answer, adapter="a").action is Action.FAIL_ADAPTER
    assert after(answer).action is Action.FAIL_ROW
    assert after(text(404, ""), adapter="a").action is Action.FAIL_ROW, "an unknown path says nothing of the adapter"


@pytest.mark.parametrize(
    ("body", "error_type", "message"),
    [
        (b'{"error":"x","error_type":"y"}', "y", "x"),
        (b'[{"error":"x","error_type":"y"}]', "y", "x"),
        (b'{"error":{"message":"m","type":"t"}}', "t", "m"),
        (b'{"error":{"message":"m","type":null,"code":"c"}}', "c", "m"),
        (b'{"object":"error","message":"m","type":"t"}', "t", "m"),
        (b'{"detail":[{"loc":["body"],"msg":"bad"}]}', "", '[{"loc":["body"],"msg":"bad"}]'),
        (b"\xff\xfe", "", "��"),
        (b"", "", "the server answered status 422 without a body"),
        (b"3", "", "3"),
    ],
)
def test_errors_are_read_in_every_shape_seen(body, error_type, message):
    answer = read_bad_answer(422, None, body, None)
    assert (answer.error_type, answer.message) == (error_type, message)
