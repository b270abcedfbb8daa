"""An engine whose clock the test moves by hand, and short words for putting rows into it."""

from collections.abc import Sequence

from lorax_simulator.engine import Engine
from lorax_simulator.faults import Faults, parse_fault
from lorax_simulator.hub import AdapterHub
from lorax_simulator.limits import Limits
from lorax_simulator.metrics import Metrics
from lorax_simulator.outcomes import Failed, Finished, Outcome
from lorax_simulator.row import Row
from lorax_simulator.timing import TIMINGS, Timing

A100 = TIMINGS["a100"]


class Model:
    """An engine with what it did so far; adapters take 4 s to download and 0.7 s to load unless told otherwise."""

    def __init__(self, *, limits: Limits | None = None, faults: Sequence[str] = (), timing: Timing = A100) -> None:
        self.faults = Faults(parse_fault(fault) for fault in faults)
        self.metrics = Metrics(max_input_length=4095, max_total_tokens=4096)
        self.hub = FixedHub(model_id="base", timing=timing, faults=self.faults, seed=0)
        self.engine = Engine(
            limits=limits or Limits(), timing=timing, hub=self.hub, faults=self.faults, metrics=self.metrics
        )
        self.outcomes: list[Outcome] = []
        self._rows = 0

    def submit(
        self,
        adapter: str = "",
        *,
        prompt: int = 100,
        most: int = 100,
        makes: int | None = None,
        streams: bool = False,
        error: str | None = None,
    ) -> Row:
        """Queue a row that will make `makes` tokens (by default all it may)."""
        self._rows += 1
        row = Row(
            id=self._rows,
            adapter_id=adapter,
            adapter_source="hub",
            prompt_tokens=prompt,
            max_new_tokens=most,
            target_tokens=most if makes is None else makes,
            arrived_at=self.engine.now,
            streams=streams,
            prefill_error=error,
        )
        self.engine.submit(row)
        return row

    def until(self, time: float) -> None:
        """Move the clock."""
        self.engine.advance(time)
        self.outcomes += self.engine.take_outcomes()

    def settle(self) -> None:
        """Move the clock from one event to the next until nothing is under way."""
        self.until(self.engine.now)
        while (wakeup := self.engine.next_wakeup()) is not None:
            self.until(wakeup)

    def warm(self, *adapters: str) -> None:
        """Get the adapters onto the GPU."""
        for adapter in adapters:
            self.submit(adapter, prompt=1, most=1)
        self.settle()
        self.outcomes.clear()

    def finished(self) -> list[Row]:
        """Return the rows that are done, in order."""
        return [outcome.row for outcome in self.outcomes if isinstance(outcome, Finished)]

    def failed(self) -> dict[int, str]:
        """Return the texts of the failed rows."""
        return {outcome.row.id: outcome.text for outcome in self.outcomes if isinstance(outcome, Failed)}


class FixedHub(AdapterHub):
    """Every adapter takes the median time; `costs` may say how large one is."""

    costs: dict[str, float] = {}  # noqa: RUF012  replaced whole by tests, never changed

    def seconds(self, job: str, adapter_id: str, source: str) -> float:
        if not adapter_id:
            return 0.0
        return {"download": 4.0, "load": 0.7, "offload": 0.05}[job]

    def cost(self, adapter_id: str) -> float:
        return self.costs.get(adapter_id, super().cost(adapter_id))
