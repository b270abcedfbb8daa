"""The order in which a server gets rows."""

from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers import ServerAddress
from lorax_batch_scheduler.running.queued_work import QueuedWork
from lorax_batch_scheduler.running.row_queue import MAX_ACTIVE_ADAPTERS, SCHEMAS_TRIED, TURN_ROWS, RowQueue
from lorax_batch_scheduler.running.row_request import RowRequest
from lorax_batch_scheduler.work import RowTrouble

from tests.rows import make_work

ADDRESS = ServerAddress.from_url("http://127.0.0.1:80")
LIMITS = ServerLimits(model_id="m", is_lorax=True)


class Server:
    """A queue and the rows in flight from it."""

    def __init__(self, *works, schemas_alone=True, warm_ahead=0):
        self.queue = RowQueue(schemas_alone=schemas_alone)
        self.queue.warm_ahead = warm_ahead
        self.flights = []
        self.now = 0.0
        for work in works:
            self.add(work)

    def add(self, work):
        queued = QueuedWork(work, self.queue.adapter(work.adapter), RowRequest(work, ADDRESS, LIMITS))
        self.queue.add(queued)
        return queued

    def send(self, count=1_000_000):
        """Take rows until none may be sent; return them as (adapter, chunk, row)."""
        self.queue.release_due(self.now)
        sent: list[tuple[str, int, int]] = []
        while len(sent) < count and (flight := self.queue.take(self.now, len(self.flights))) is not None:
            flight.queued.work.in_flight += 1
            self.flights.append(flight)
            sent.append((flight.queued.work.adapter, flight.queued.work.lease.chunk_no, flight.row))
        return sent

    def end(self, succeeded=True, retry_at=None):
        """End the oldest row in flight."""
        flight = self.flights.pop(0)
        flight.queued.work.in_flight -= 1
        self.queue.ended(flight)
        if retry_at is not None:
            self.queue.retry(flight.queued, flight.row, retry_at)
        elif succeeded:
            self.queue.succeeded(flight)
        if flight.queued.settled:
            self.queue.done(flight.queued)
        return flight

    def end_all(self):
        while self.flights:
            self.end()


def test_rows_of_the_base_model_go_in_the_order_given():
    server = Server(make_work(2), make_work(2, chunk_no=1))
    assert server.send() == [("", 0, 0), ("", 0, 1), ("", 1, 0), ("", 1, 1)]
    assert server.queue.size == 0


def test_a_cold_adapter_gets_one_row_until_that_is_answered():
    server = Server(make_work(5, adapter="a"))
    assert server.send() == [("a", 0, 0)]
    assert server.flights[0].canary
    server.end()
    assert [row for _, _, row in server.send()] == [1, 2, 3, 4]
    assert server.queue.warm_adapters == ["a"]


def test_a_canary_that_shows_nothing_is_followed_by_another():
    server = Server(make_work(5, adapter="a"))
    server.send()
    server.end(succeeded=False)
    assert server.send() == [("a", 0, 1)]
    assert server.flights[0].canary


def test_one_adapter_is_warmed_at_a_time_and_in_order():
    server = Server(make_work(2, adapter="a"), make_work(2, chunk_no=1, adapter="b"))
    assert server.send() == [("a", 0, 0)]
    server.end()
    assert server.send() == [("a", 0, 1), ("b", 1, 0)]


def test_rows_of_an_adapter_stay_together():
    works = [make_work(2, chunk_no=number, adapter="ab"[number % 2]) for number in range(4)]
    server = Server(*works)
    order = []
    while sent := server.send(1):
        order += sent
        server.end_all()
    assert [adapter for adapter, _, _ in order] == ["a"] * 4 + ["b"] * 4


def test_the_next_adapter_is_not_warmed_while_much_stands_before_it():
    server = Server(make_work(50, adapter="a"), make_work(5, chunk_no=1, adapter="b"), warm_ahead=10)
    server.send()
    server.end()
    assert {adapter for adapter, _, _ in server.send(39)} == {"a"}
    assert {adapter for adapter, _, _ in server.send(3)} == {"a", "b"}


def test_few_adapters_are_active_at_a_time():
    server = Server(*[make_work(3, chunk_no=number, adapter=f"a{number}") for number in range(8)], warm_ahead=1_000)
    for _ in range(20):
        server.send()
        canaries = [flight for flight in server.flights if flight.canary]
        if not canaries:
            break
        server.flights.remove(canaries[0])
        server.flights.insert(0, canaries[0])
        server.end()
    assert len({flight.queued.work.adapter for flight in server.flights}) == MAX_ACTIVE_ADAPTERS


def test_an_adapter_that_waits_its_turn_gets_it():
    long = [make_work(1_000, chunk_no=number, adapter="a") for number in range(8)]
    server = Server(*long, make_work(1, chunk_no=9, adapter="b"))
    server.send(1)
    server.end()
    sent = 0
    while not any(adapter == "b" for adapter, _, _ in server.send(100)):
        server.end_all()
        sent += 100
    assert sent <= TURN_ROWS + 200


def test_a_retry_waits_for_its_time_and_then_goes_first():
    server = Server(make_work(3))
    server.send(1)
    server.end(retry_at=5.0)
    assert server.send(1) == [("", 0, 1)]
    server.now = 5.0
    assert server.send(1) == [("", 0, 0)]


def test_a_row_to_be_sent_alone_waits_until_nothing_is_in_flight():
    server = Server(make_work(6))
    server.send(3)
    flight = server.end(retry_at=0.0)
    flight.queued.work.trouble[flight.row] = RowTrouble(company=1)
    assert server.send() == []
    server.end_all()
    assert server.send() == [("", 0, 0)]
    assert server.flights[0].company == 1
    server.end_all()
    assert len(server.send()) == 3


def test_suspects_go_together_in_companies_the_largest_first_and_with_nobody_else():
    server = Server(make_work(12))
    server.send(7)
    for company in (4, 4, 4, 4, 4, 1):
        flight = server.end(retry_at=0.0)
        flight.queued.work.trouble[flight.row] = RowTrouble(company=company)
    assert server.send() == [], "a row that nobody suspects is in flight"
    server.end()
    assert [row for _, _, row in server.send()] == [0, 1, 2, 3]
    server.end()
    assert [row for _, _, row in server.send()] == [4], "its place is free for the next suspect"
    server.end_all()
    assert [row for _, _, row in server.send()] == [5]
    server.end_all()
    assert len(server.send()) == 5


def test_a_server_that_has_yet_to_prove_itself_gets_rows_that_never_failed_first():
    first, second = make_work(2), make_work(3, chunk_no=1, adapter="a")
    server = Server(first, second)
    assert server.send(1) == [("", 0, 0)]
    first.trouble[0] = RowTrouble(company=1)
    server.end(retry_at=0.0)
    server.queue.unproved = True
    assert server.send(1) == [("", 0, 1)]
    server.end(succeeded=False)
    assert server.send(1) == [("a", 1, 0)], "also of an adapter that is cold"
    server.end()
    assert not server.queue.unproved
    assert server.send(1) == [("", 0, 0)], "now the suspect"


def test_suspects_of_a_cold_adapter_are_warmed_by_one_of_them():
    server = Server(make_work(3, adapter="a"))
    for row in range(3):
        server.send(1)
        flight = server.end(succeeded=False, retry_at=0.0)
        flight.queued.work.trouble[row] = RowTrouble(company=3)
    assert len(server.send()) == 1
    server.end()
    assert len(server.send()) == 2


def test_the_first_row_of_a_schema_goes_alone():
    server = Server(make_work(4, schemas=[0, 7, 7, 7]))
    assert server.send() == [("", 0, 0)]
    server.end()
    assert server.send() == [("", 0, 1)]
    server.end()
    assert server.send() == [("", 0, 2), ("", 0, 3)]


def test_a_schema_that_failed_does_not_vouch_for_itself():
    server = Server(make_work(3, schemas=[7, 7, 7]))
    server.send()
    server.end(succeeded=False)
    assert server.send() == [("", 0, 1)]


def test_after_many_good_schemas_new_ones_are_trusted():
    count = SCHEMAS_TRIED + 20
    server = Server(make_work(count, schemas=list(range(1, count + 1))))
    for _ in range(SCHEMAS_TRIED):
        assert len(server.send()) == 1
        server.end()
    assert len(server.send()) == 20
    server.queue.distrust_schemas()


def test_schemas_need_no_care_where_they_do_no_harm():
    assert len(Server(make_work(4, schemas=[1, 2, 3, 4]), schemas_alone=False).send()) == 4


def test_withdrawn_chunks_have_all_their_rows_again():
    server = Server(make_work(10, job_id="x"), make_work(2, job_id="y", chunk_no=1))
    server.send(4)
    server.end(retry_at=9.0)
    flight = server.end(retry_at=0.0)
    flight.queued.work.trouble[flight.row] = RowTrouble(company=1)
    server.queue.release_due(0.0)
    (queued,) = server.queue.withdraw(lambda candidate: candidate.work.job_id == "x")
    assert sorted(queued.work.waiting) == [0, 1, 4, 5, 6, 7, 8, 9]
    assert queued.held == 0
    assert server.queue.size == 2
    server.end_all()
    assert server.send() == [("", 1, 0), ("", 1, 1)]


def test_a_new_process_has_nothing_warm():
    server = Server(make_work(5, adapter="a", schemas=[3] * 5))
    server.send()
    server.end()
    server.queue.cool()
    assert server.queue.warm_adapters == []
    assert server.send() == [("a", 0, 1)]
    assert server.flights[0].canary


def test_nothing_is_kept_of_adapters_that_are_done():
    server = Server(*[make_work(2, chunk_no=number, adapter=f"a{number}") for number in range(20)], warm_ahead=10)
    while server.send():
        server.end_all()
    assert server.queue.works == set()
    assert server.queue._adapters == {}
    assert server.queue.size == 0
    assert len(server.queue.warm_adapters) <= MAX_ACTIVE_ADAPTERS
