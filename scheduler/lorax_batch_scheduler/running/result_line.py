"""The JSON line that ends up in the output or the error file for a row."""

import msgspec

NO_RESPONSE = b"null"
_ID_PREFIX = b'{"id":"batch_req_'


def success_line(job_id: bytes, line: int, custom_id: bytes, body: bytes, request_id: bytes = b"") -> bytes:
    """Return the line of a row that succeeded.

    `custom_id` is a JSON string; `body` is passed on as it is; `request_id` is what the server calls the request, if it
    calls it anything (LoRAX does not).
    """
    if b"\n" in body or b"\r" in body:
        body = msgspec.json.format(body, indent=-1)
    return (
        b'{"id":"batch_req_%s_%d","custom_id":%s,"response":{"status_code":200,"request_id":%s,"body":%s},"error":null}\n'
        % (job_id, line, custom_id, _request_id(job_id, line, request_id), body)
    )


def error_line(
    job_id: bytes, line: int, custom_id: bytes, *, code: str, message: str, status: int = 0, body: bytes = b""
) -> bytes:
    """Return the line of a row that failed; `status` 0: no server has answered."""
    response = NO_RESPONSE
    if status:
        request_id = _request_id(job_id, line, b"")
        response = b'{"status_code":%d,"request_id":%s,"body":%s}' % (status, request_id, _as_json(body))
    error = msgspec.json.encode({"code": code, "message": message})
    return b'{"id":"batch_req_%s_%d","custom_id":%s,"response":%s,"error":%s}\n' % (
        job_id,
        line,
        custom_id,
        response,
        error,
    )


def line_numbers(job_id: bytes, text: bytes) -> list[int]:
    """Return which lines of the dataset the result lines of a text answer; a job's files have no others."""
    begin = len(_ID_PREFIX) + len(job_id) + 1
    # Not splitlines: a carriage return is white space in JSON, not the end of a row.
    return [int(row[begin : row.index(b'"', begin)]) for row in text.split(b"\n")[:-1]]


def _request_id(job_id: bytes, line: int, given: bytes) -> bytes:
    """Return a JSON string: the server's word, which may hold anything, or one of ours."""
    return msgspec.json.encode(given.decode("latin-1")) if given else b'"req_%s_%d"' % (job_id, line)


def _as_json(body: bytes) -> bytes:
    """Return the body itself where it is JSON, else as a JSON string."""
    try:
        body.decode()
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode(body.decode("utf-8", "replace"))
