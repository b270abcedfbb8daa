"""How many rows, and tokens reserved by them, may be in flight on one server.

A server that reports its capacity (LoRAX) is filled up to it: it reserves prompt + `max_tokens` for every row, so
1.25 times its KV tokens keep it full with a short queue in front. One that reports nothing is felt out: more rows are
sent as long as more of them make it faster. Both start low and shrink at once when the server fails; what it refuses
is a ceiling of its own.

The plan may want only a part of a server filled: its window. That caps what is in flight, and nothing else: what was
learned of the server stays as it was, and a server that is full up to its window is not taken for one that is full.
"""

import math
import sys

from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.running.permit_ceiling import PermitCeiling

FIRST_ROWS = 16
"""A cold server is not met with all that it may hold."""
FIRST_ROWS_UNKNOWN = 8
SHARE_OF_PERMITS = 0.9
"""The rest is for others, and for health checks that need a permit too."""
OVERFILL = 1.25
LARGE_ROW_SHARE = 0.1
"""Rows larger than this share of the KV tokens are not queued in front of the server: they could block each other."""
SHRINK = 0.7
LONG_QUEUE_SHARE = 0.5
LONG_QUEUE_MS = 2_000.0
"""Rows wait for admission up to about 20 steps even on a server that is not full."""
MIN_WINDOW_S = 0.25
MIN_GAIN = 0.25
"""Growing by 10 % must bring 2.5 % at least, or it is taken back."""
HOLD_WINDOWS = 20
OOM_SHARE = 0.8
OOM_RELIEF_S = 60.0
"""How often the memory that was exhausted once is tried a little further."""
OOM_RELIEF = 0.05
"""By so much the first time, and by twice as much each time that went well."""
MAX_OOM_RELIEF = 1.0
LEAST_WINDOW_ROWS = 64
"""No window is smaller: a decode step with fewer rows takes nearly as long, so less work is done for nothing."""
NO_TOKEN_LIMIT = sys.maxsize


class InFlightLimit:
    """The limit of one server; `rows` and `tokens` are read before every row, the rest is told to it."""

    def __init__(self, limits: ServerLimits, ceiling: int | None) -> None:
        self.limits = limits
        self._ceiling = ceiling
        self._token_cap = float(NO_TOKEN_LIMIT)
        self._cap_time = -math.inf
        self._relief = OOM_RELIEF
        self._shrink_time = -math.inf
        self.answered = 0
        """Rows that had a result, ever."""
        self.window = 1.0
        """The part of the server's capacity that is to be filled; one that reports no capacity is filled as ever."""
        self.rows = 0
        """Rows that may be in flight."""
        self.tokens = NO_TOKEN_LIMIT
        """A row may be sent while the reservations in flight are below this."""
        self._mean_tokens = 0.0
        self._full_tokens = NO_TOKEN_LIMIT
        """The same without a window."""
        self._full = False
        self.restart()

    def restart(self, rows: int | None = None) -> None:
        """Begin again from few rows, or from as many as told: the server is new, or was in trouble."""
        self._reported = self.limits.max_batch_total_tokens is not None  # a new one may have been started with others
        self.max_rows = self._max_rows()
        first = FIRST_ROWS if self._reported else FIRST_ROWS_UNKNOWN
        self._permits = PermitCeiling()
        self._wanted = self.rows = min(rows or first, self.max_rows)
        self._gentle_from = self.max_rows
        self._grown_from: tuple[int, float] | None = None
        self._hold = 0
        self._set_tokens(0.0)
        self._open_window(-math.inf)

    @property
    def target_rows(self) -> int:
        """Rows to have in flight; for moments fewer may be, while it is found out what the server takes."""
        return min(self._wanted, self._permits.rows, self._window_rows)

    @property
    def window_part(self) -> float:
        """What the window comes to: the part of the rows of a full server, such as they are, that may be in flight."""
        mean = max(self._mean_tokens, 1e-9)
        return min(self._window_rows, self.tokens / mean) / min(self.max_rows, self._full_tokens / mean)

    def fullness(self, rows_in_flight: int, tokens_in_flight: int) -> float:
        """Return how much of what may be in flight is, in rows or in tokens, whichever is nearer to its limit."""
        return max(rows_in_flight / self.target_rows, tokens_in_flight / self.tokens)

    # --- what is told to it --------------------------------------------------------------------------------------

    def completed(self, tokens: int) -> None:
        """Take note of a row that has its result, with the tokens it generated."""
        self.answered += 1
        self._tokens_done += tokens

    def queued(self, queue_ms: float, total_ms: float) -> None:
        """Take note of how long a row of those completed waited inside the server; a sample of the rows is enough."""
        self._queue_ms += queue_ms
        self._total_ms += total_ms
        self._samples += 1

    def overloaded(self, now: float, sent_at: float, rows_in_flight: int) -> None:
        """The server refused a row because it has too many."""
        self._permits.refused(now, sent_at, rows_in_flight, self.answered)
        self._set_rows(self._wanted)

    def sent(self, now: float, rows_in_flight: int) -> None:
        """Rows were sent after `adjust`, as far as there were any."""
        self._permits.sent(now, rows_in_flight)
        self._set_rows(self._wanted)

    def out_of_memory(self, now: float, sent_at: float, tokens_in_flight: int) -> None:
        """The server ran out of memory with these reservations in flight."""
        if sent_at <= self._shrink_time:
            return  # one of the many that failed with the batch for which the limit has shrunk already
        self._token_cap = max(1.0, min(self._token_cap, tokens_in_flight) * OOM_SHARE)
        self._cap_time = now
        self._relief = OOM_RELIEF
        self._set_tokens(0.0)
        self._shrink(now, self._wanted * SHRINK)

    def memory_was_enough(self) -> None:
        """It was one row that exhausted the memory, all by itself: the others may use it again."""
        self._token_cap = float(NO_TOKEN_LIMIT)
        self._gentle_from = self.max_rows

    def adjust(self, now: float, rows_in_flight: int, tokens_in_flight: int) -> None:
        """Grow or shrink by what was seen since the last change; to be called several times a second."""
        if now - self._cap_time >= OOM_RELIEF_S:
            self._token_cap *= 1 + self._relief
            self._relief = min(MAX_OOM_RELIEF, self._relief * 2)
            self._cap_time = now
        mean_tokens = tokens_in_flight / rows_in_flight if rows_in_flight else 0.0
        self._set_tokens(mean_tokens)
        self._permits.adjust(now, rows_in_flight, self.answered, self._wanted)
        self._set_rows(self._wanted)
        self._full = self._full or rows_in_flight >= self._wanted or tokens_in_flight >= self._full_tokens
        rows_done = self.answered - self._answered_before
        if rows_done < self.target_rows:
            return
        if self._window_start == -math.inf:
            self._open_window(now)
            return
        if self._reported:
            self._follow_queue(mean_tokens)
            self._open_window(now)
        elif now - self._window_start >= MIN_WINDOW_S:
            self._follow_gain((self._tokens_done or rows_done) / (now - self._window_start))
            self._open_window(now)

    # --- inside --------------------------------------------------------------------------------------------------

    def _max_rows(self) -> int:
        permits = self.limits.max_concurrent_requests
        if self._reported:
            permits = int(permits * SHARE_OF_PERMITS)
        elif self._ceiling is not None:
            permits = self._ceiling  # whoever configured it knows more than a server that says nothing
        return max(1, min(permits, self._ceiling or permits))

    @property
    def _window_rows(self) -> int:
        if not self._reported:
            return self.max_rows
        return min(self.max_rows, max(LEAST_WINDOW_ROWS, math.ceil(self.max_rows * self.window)))

    def _set_tokens(self, mean_tokens: float) -> None:
        capacity = self.limits.max_batch_total_tokens
        if capacity is None:
            self.tokens = self._full_tokens = int(min(NO_TOKEN_LIMIT, self._token_cap))
            return
        large = mean_tokens > LARGE_ROW_SHARE * capacity
        full = capacity - mean_tokens if large else capacity * OVERFILL
        self._full_tokens = max(1, int(min(full, self._token_cap)))
        self._mean_tokens = mean_tokens
        window = max(full * self.window, LEAST_WINDOW_ROWS * mean_tokens)
        self.tokens = max(1, int(min(window, self._full_tokens)))

    def _set_rows(self, wanted: int) -> None:
        self._wanted = wanted
        self.rows = min(wanted, self._permits.open, self._window_rows)

    def _open_window(self, now: float) -> None:
        self._window_start = now
        self._answered_before = self.answered
        self._tokens_done = self._samples = 0
        self._queue_ms = self._total_ms = 0.0
        self._full = False

    def _shrink(self, now: float, rows: float) -> None:
        self._shrink_time = now
        self._set_rows(max(1, int(rows)))
        self._gentle_from = self._wanted
        self._grown_from = None
        self._hold = HOLD_WINDOWS
        self._open_window(now)

    def _follow_queue(self, mean_tokens: float) -> None:
        share = self._queue_ms / self._total_ms if self._total_ms else 0.0
        if share > LONG_QUEUE_SHARE and self._queue_ms > LONG_QUEUE_MS * self._samples:
            # Below half of what fits by its own arithmetic the server would only run empty.
            fitting = (self.limits.max_batch_total_tokens or 0) / mean_tokens if mean_tokens else 0.0
            floor = min(self._wanted, max(FIRST_ROWS, int(fitting / 2)))
            self._set_rows(max(floor, int(self._wanted * 0.9)))
        elif self._full:
            step = self._wanted if self._wanted < self._gentle_from else max(1, self._wanted // 16)
            self._set_rows(min(self.max_rows, self._wanted + step))

    def _follow_gain(self, throughput: float) -> None:
        if self._permits.rows < self._wanted:
            self._grown_from = None  # what it refuses says more than how fast it is
            return
        if self._grown_from is not None:
            rows, before = self._grown_from
            self._grown_from = None
            if throughput / before - 1 < MIN_GAIN * (self._wanted / rows - 1):
                self._set_rows(rows)
                self._hold = HOLD_WINDOWS
                return
        if self._hold:
            self._hold -= 1
        elif self._full and self._wanted < self.max_rows:
            self._grown_from = (self._wanted, throughput)
            self._set_rows(min(self.max_rows, math.ceil(self._wanted * 1.5)))
