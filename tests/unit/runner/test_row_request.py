"""The HTTP request of a row."""

from dataclasses import replace

from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers import ServerAddress
from lorax_batch_scheduler.running.row_request import RowRequest

from tests.rows import make_work

ADDRESS = ServerAddress.from_url("http://localhost:1")
LIMITS = ServerLimits(model_id="m", is_lorax=True)


def test_a_traced_chunk_tells_its_server_so() -> None:
    work = make_work()
    plain = RowRequest(work, ADDRESS, LIMITS).build(0, 16)
    traced = RowRequest(replace(work, traceparent=b"00-a-b-01"), ADDRESS, LIMITS).build(0, 16)
    assert b"traceparent" not in plain
    assert traced.replace(b"\r\ntraceparent: 00-a-b-01", b"") == plain
