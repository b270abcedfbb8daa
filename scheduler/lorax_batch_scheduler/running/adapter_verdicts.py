"""What a server has said of adapters that it can't run, remembered for a while: each try stalls all its rows."""

from dataclasses import dataclass

from lorax_batch_scheduler.running.retry import ADAPTER_VERDICT_S, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterVerdict:
    """Why an adapter's rows fail without being sent."""

    code: str
    message: str
    elsewhere: bool
    """Whether another server may run it."""
    expires: float


class AdapterVerdicts:
    """The verdicts of one server."""

    def __init__(self) -> None:
        self._verdicts: dict[str, AdapterVerdict] = {}

    def find(self, adapter: str, now: float) -> AdapterVerdict | None:
        """Return the verdict on an adapter that still holds."""
        verdict = self._verdicts.get(adapter)
        if verdict is not None and verdict.expires <= now:
            del self._verdicts[adapter]
            return None
        return verdict

    def pass_on(self, adapter: str, decision: Decision, now: float, *, elsewhere: bool) -> AdapterVerdict:
        """Remember what was decided of an adapter."""
        verdict = AdapterVerdict(
            code=decision.code, message=decision.message, elsewhere=elsewhere, expires=now + ADAPTER_VERDICT_S
        )
        self._verdicts[adapter] = verdict
        return verdict

    def forget(self) -> None:
        """Begin anew: the server is another process now."""
        self._verdicts.clear()
